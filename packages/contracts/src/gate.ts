/** What is done about a verdict, by the source's policy. Pure; both gates (before a change, and in stream) ask here. */
import { ChangePolicy } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Judgement } from './judge.ts';

/** Rows pass; rows pass and it is told; rows are held. */
export type GateVerdict = 'pass' | 'pass_with_note' | 'hold';

/**
 * Strict: any change of what somebody reads holds, also one that widens. Evolve, the default: what breaks somebody holds.
 * Notify: only what somebody can no longer read holds. A change that reaches nobody always passes.
 */
export function gateVerdict(judgement: Judgement, policy: ChangePolicy): GateVerdict {
  const touched = judgement.changes.flatMap(({ consumers }) => consumers);
  if (touched.length === 0) return 'pass';
  if (policy === ChangePolicy.STRICT) return 'hold';
  const broken = touched.filter(({ verdict }) => verdict === 'breaking');
  if (policy === ChangePolicy.NOTIFY) return broken.some(({ readable }) => !readable) ? 'hold' : 'pass_with_note';
  if (broken.length > 0) return 'hold';
  return touched.some(({ verdict }) => verdict === 'compatible_with_note') ? 'pass_with_note' : 'pass';
}
