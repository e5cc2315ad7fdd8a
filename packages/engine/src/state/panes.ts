/**
 * The panes of one feature group of one key, in one flat array: the fold holds hundreds of thousands of these, and an
 * array per column took 2.7 KB a key where this takes 0.6 (measured), most of it room for growth that V8 adds.
 *
 *     [count, pane, acc, acc, …, pane, acc, acc, …, spare]
 *
 * Pane numbers ascend; each is followed by one accumulator per feature, undefined when nothing was added. Behind the
 * last pane there may be room for more. An empty group is the shared NO_PANES, which is never written to.
 */

export type Panes = unknown[];

/** No pane at all; shared, so that a key pays nothing for groups without one. */
export const NO_PANES: Panes = [0];

/** The numbers per pane: its own, and the accumulators. */
export function strideOf(features: number): number {
  return features + 1;
}

export function paneCount(panes: Panes): number {
  return panes[0] as number;
}

/** The index of the i-th pane's number; its accumulators follow it. */
export function paneIndex(i: number, stride: number): number {
  return 1 + i * stride;
}

/** Drops panes older than a number, in place. */
export function dropOlder(panes: Panes, stride: number, oldest: number): void {
  const count = panes[0] as number;
  let dropped = 0;
  while (dropped < count && (panes[1 + dropped * stride] as number) < oldest) dropped++;
  if (dropped === 0) return;
  const end = 1 + count * stride;
  const shift = dropped * stride;
  for (let i = 1 + shift; i < end; i++) panes[i - shift] = panes[i];
  for (let i = end - shift; i < end; i++) panes[i] = undefined;
  panes[0] = count - dropped;
}

/** The index of the pane with a number, or -1 - the index at which it would be put in. Newest first: most events are new. */
export function findPane(panes: Panes, stride: number, pane: number): number {
  for (let at = 1 + ((panes[0] as number) - 1) * stride; at > 0; at -= stride) {
    const number = panes[at] as number;
    if (number === pane) return at;
    if (number < pane) return -1 - (at + stride);
  }
  return -2;
}

/** Puts an empty pane in at an index; returns the array, a new one when there was no room. */
export function insertPane(panes: Panes, stride: number, at: number, pane: number): Panes {
  const count = panes[0] as number;
  const end = 1 + count * stride;
  let target = panes;
  if (end + stride > panes.length) {
    // One pane at first, then half as many again.
    target = new Array<unknown>(1 + (count + 1 + (count >> 1)) * stride).fill(undefined);
    for (let i = 1; i < at; i++) target[i] = panes[i];
  }
  for (let i = end - 1; i >= at; i--) target[i + stride] = panes[i];
  for (let i = at + 1; i < at + stride; i++) target[i] = undefined;
  target[at] = pane;
  target[0] = count + 1;
  return target;
}
