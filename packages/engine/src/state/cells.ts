/**
 * The state of one key in one flat array: the fold holds hundreds of thousands of these. An array of numbers alone is
 * one block of doubles for V8, without a pointer in it: adding to it allocates nothing and collecting garbage passes it
 * by. Three arrays of boxed values a key took a quarter of the fold's time in collections alone (measured).
 *
 *     used, version, log time, newest, then per feature group: panes, pane, cells …, pane, cells …
 *
 * `used` is where the last group ends; behind it there may be room for more, all zero. Pane numbers ascend; each is
 * followed by the cells of one accumulator per feature of the group. The groups follow each other without gaps.
 * Owns the layout. Does not own what is in an accumulator's cells (../aggregates).
 */
import type { Cells } from '../aggregates/aggregate.ts';

/** Where the first group begins. */
export const FIRST_GROUP = 4;

const USED = 0;
const TEMPLATE_CELLS = 1024;

/** Slices of these keep the kind of their elements, which an array made in another way would have to find out. */
const NUMBERS: Cells = template(0.5);
const VALUES: Cells = template('');

function template(first: unknown): Cells {
  const cells = [first];
  while (cells.length < TEMPLATE_CELLS) cells.push(first);
  return cells.fill(0);
}

/** Cells that are all zero; `numeric` says that nearly all will only ever hold numbers. */
export function zeroCells(length: number, numeric: boolean): Cells {
  const source = numeric ? NUMBERS : VALUES;
  if (length <= TEMPLATE_CELLS) return source.slice(0, length);
  const cells = source.slice();
  while (cells.length < length) cells.push(0);
  return cells;
}

/** The cells of a key without a pane in any group, with room for one in each. */
export function emptyCells(strides: readonly number[], numeric: boolean): Cells {
  const used = FIRST_GROUP + strides.length;
  const cells = zeroCells(
    strides.reduce((sum, stride) => sum + stride, used),
    numeric,
  );
  cells[USED] = used;
  return cells;
}

/** How many panes the group at an index has. */
export function paneCount(cells: Cells, group: number): number {
  return cells[group] as number;
}

/** Where the group after the one at an index begins. */
export function nextGroup(cells: Cells, group: number, stride: number): number {
  return group + 1 + (cells[group] as number) * stride;
}

/** Drops the group's panes older than a number. */
export function dropOlder(cells: Cells, group: number, stride: number, oldest: number): void {
  const count = cells[group] as number;
  let dropped = 0;
  while (dropped < count && (cells[group + 1 + dropped * stride] as number) < oldest) dropped++;
  if (dropped === 0) return;
  const used = cells[USED] as number;
  const shift = dropped * stride;
  for (let i = group + 1 + shift; i < used; i++) cells[i - shift] = cells[i];
  for (let i = used - shift; i < used; i++) cells[i] = 0;
  cells[group] = count - dropped;
  cells[USED] = used - shift;
}

/** The index of the group's pane with a number, or -1 - the index at which it would be put in. Newest first: most events are new. */
export function findPane(cells: Cells, group: number, stride: number, pane: number): number {
  for (let at = group + 1 + ((cells[group] as number) - 1) * stride; at > group; at -= stride) {
    const number = cells[at] as number;
    if (number === pane) return at;
    if (number < pane) return -1 - (at + stride);
  }
  return -2 - group;
}

/** Puts an empty pane into the group at an index; returns the array, a new one when there was no room. */
export function insertPane(
  cells: Cells,
  group: number,
  stride: number,
  at: number,
  pane: number,
  numeric: boolean,
): Cells {
  const used = cells[USED] as number;
  let target = cells;
  if (used + stride > cells.length) {
    target = zeroCells(used + Math.max(2 * stride, used >> 2), numeric);
    for (let i = 0; i < at; i++) target[i] = cells[i];
  }
  for (let i = used - 1; i >= at; i--) target[i + stride] = cells[i];
  for (let i = at + 1; i < at + stride; i++) target[i] = 0;
  target[at] = pane;
  target[group] = (cells[group] as number) + 1;
  target[USED] = used + stride;
  return target;
}

/** Takes the pane at an index out of the group. */
export function removePane(cells: Cells, group: number, stride: number, at: number): void {
  const used = cells[USED] as number;
  for (let i = at + stride; i < used; i++) cells[i - stride] = cells[i];
  for (let i = used - stride; i < used; i++) cells[i] = 0;
  cells[group] = (cells[group] as number) - 1;
  cells[USED] = used - stride;
}

/** Whether no group has a pane. */
export function hasNoPane(cells: Cells, groups: number): boolean {
  return cells[USED] === FIRST_GROUP + groups;
}
