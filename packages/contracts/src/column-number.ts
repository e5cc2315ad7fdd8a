/** Which column of one contract is which of another, where the catalog's numbers tell: a number is never given again. Pure. */
import type { Column } from '@freshet/gen/freshet/type/v1/contract_pb.ts';

/** Whether columns of both are known by the numbers of one table; contracts from before numbers were told are not. */
export function areNumbered(before: readonly Column[], after: readonly Column[]): boolean {
  const [first] = before;
  return [...before, ...after].every(
    ({ tableOid, columnNumber }) => columnNumber !== 0 && tableOid === first?.tableOid,
  );
}
