/** What is done about a verdict, by the source's policy. Pure; both gates (before a change, and in stream) ask here. */
import { ChangePolicy } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { ChangeKind } from './change.ts';
import type { Judgement } from './judge.ts';

/**
 * Changes that the stream tells nothing of, so that nothing can be held for them: they break whoever reads the column all the
 * same. Others that come with them are held for their own sake.
 */
const UNTOLD: ReadonlySet<ChangeKind> = new Set(['values_rewritten']);

/** Rows pass; rows pass and it is told; rows are held. */
export type GateVerdict = 'pass' | 'pass_with_note' | 'hold';

/**
 * Strict: any change of what somebody reads holds, also one that widens. Evolve, the default: what breaks somebody holds.
 * Notify: only what somebody can no longer read holds. A change that reaches nobody always passes.
 */
export function gateVerdict(judgement: Judgement, policy: ChangePolicy): GateVerdict {
  const told = judgement.changes.filter(({ change }) => !UNTOLD.has(change.kind));
  const touched = told.flatMap(({ consumers }) => consumers);
  if (touched.length === 0)
    return judgement.changes.some(({ consumers }) => consumers.length > 0) ? 'pass_with_note' : 'pass';
  if (policy === ChangePolicy.STRICT) return 'hold';
  const broken = touched.filter(({ verdict }) => verdict === 'breaking');
  if (policy === ChangePolicy.NOTIFY) return broken.some(({ readable }) => !readable) ? 'hold' : 'pass_with_note';
  if (broken.length > 0) return 'hold';
  return touched.some(({ verdict }) => verdict === 'compatible_with_note') ? 'pass_with_note' : 'pass';
}
