/**
 * How far back a view looks: for how long an event matters, and from when on a key's state says nothing any more.
 *
 * Owns both questions, so that the fold, the digest and the sweep give one answer (F1). Does not own rows (../rows/
 * dead-row.ts asks the same of a row: the row of a dead state is dead).
 *
 * A dead state and a contribution out of reach may go at any time: nothing tells whether they are still there. That is so
 * because a change to a dead key gives the state that it would give on a new one (all its panes are dropped, and what is in
 * reach now is newer than its newest event), and because digests pass them over.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { NO_EVENT_TIME } from '../aggregates/aggregate.ts';
import { oldestPane, paneAt, type WindowShape, windowShape } from '../windows.ts';
import { ByteReader } from './byte-reader.ts';

export interface ViewReach {
  readonly mutable: boolean;
  /** One for each group of features that share a window and a ttl, in the order of the groups. */
  readonly windows: readonly WindowShape[];
  readonly hasLifetime: boolean;
  readonly hasTtl: boolean;
  /** Whether a ttl ends a count, which is then ABSENT, and not 0 as for an entity never seen. */
  readonly endsCounts: boolean;
}

/** The reach of a view whose features are grouped like that (view-plan.ts). */
export function viewReach(plan: ViewPlan, groups: readonly (readonly number[])[]): ViewReach {
  const { features } = plan;
  const windows = groups.map(([first]) => windowShape(first === undefined ? undefined : features[first]?.window));
  return {
    mutable: plan.mode === SourceMode.MUTABLE,
    windows,
    hasLifetime: windows.some(({ kind }) => kind === 'lifetime'),
    hasTtl: features.some(({ ttlUs }) => ttlUs > 0n),
    endsCounts: features.some(({ ttlUs, aggregate }) => ttlUs > 0n && aggregate === 'count'),
  };
}

/** Whether a window of the view holds the event time at the log time or after. */
export function isInReach({ windows, hasLifetime }: ViewReach, eventTimeUs: number, logTimeUs: number): boolean {
  if (hasLifetime) return true;
  if (eventTimeUs === NO_EVENT_TIME) return false;
  for (let i = 0; i < windows.length; i++) {
    const window = windows[i] as WindowShape;
    if (paneAt(window, eventTimeUs) >= oldestPane(window, logTimeUs)) return true;
  }
  return false;
}

/**
 * Whether the contribution of a live row still counts at the log time: in a window, or for the newest event time, from
 * which a ttl runs. Once not, never again.
 */
export function isHeld(reach: ViewReach, eventTimeUs: number, logTimeUs: number): boolean {
  return reach.hasTtl || isInReach(reach, eventTimeUs, logTimeUs);
}

/**
 * Whether the values of a state are, from the log time on, those of an entity never seen, and the next change will not
 * see it. `newestUs` is its newest event time, `isEmpty` says that it has no pane.
 */
export function isDead(reach: ViewReach, newestUs: number, isEmpty: boolean, logTimeUs: number): boolean {
  if (reach.mutable) {
    // With a lifetime or a ttl rows count for as long as they live, and the newest of them is known.
    if (newestUs === NO_EVENT_TIME) return isEmpty;
    return !reach.hasTtl && !isInReach(reach, newestUs, logTimeUs);
  }
  // Every event of an append view has a pane, and no pane is newer than the newest event.
  return !reach.endsCounts && !isInReach(reach, newestUs, logTimeUs);
}

/** isDead of an encoded state (state-codec.ts), without decoding its panes. */
export function isDeadState(reach: ViewReach, state: Uint8Array, logTimeUs: number): boolean {
  const reader = new ByteReader(state);
  reader.byte();
  reader.varint();
  reader.zigzag();
  const newestUs = reader.bool() ? reader.zigzag() : NO_EVENT_TIME;
  // Without a pane a group is the one byte 0.
  let groups = 0;
  let isEmpty = true;
  for (; isEmpty && !reader.done; groups++) isEmpty = reader.byte() === 0;
  return isDead(reach, newestUs, isEmpty && groups === reach.windows.length, logTimeUs);
}
