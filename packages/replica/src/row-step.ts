/**
 * The values of a row at a time, read straight from the row's bytes: nothing of a row is kept decoded but the step that
 * was read last, so that a replica with many rows does not grow by being read.
 *
 * Owns: finding the step of each timeline that a time falls into, and taking that step's values.
 * Does not own: the layout (row-layout.ts), which row (view-table.ts), encoding an answer.
 *
 * Invariant F2: what is returned for T is the row's value at max(T, the row's log time), and holds for every other time
 * from `from` up to, but not at, `until`.
 */
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { type Held, isNumberKind } from './held.ts';
import type { FeatureLayout, RowLayout } from './row-layout.ts';
import { WireReader } from './wire-reader.ts';

/** Where a feature's number is in Step.numbers: after the times between which the step holds. */
export const FIRST_NUMBER = 2;

const BIGINT_BYTES = 24;

/**
 * A row's values for as long as none of them changes. Laid out for reading many of them: everything that a read of
 * numbers needs is in one array of doubles, so that a row costs few cache misses (an object with doubles in its fields,
 * and an array of mixed values, cost one for each).
 */
export class Step {
  /**
   * The time from which the step holds (-Infinity in a row's first step) and the time until before which it does,
   * microseconds; then the value of each feature of a number kind, 0 for others and for what is in `others`.
   */
  readonly numbers: readonly number[];
  /** By feature index: values that are no numbers, and integers that a number would not hold exactly. */
  readonly others: readonly (Held | undefined)[] | undefined;
  /** By feature index: PRESENT, ABSENT, DEFAULTED or OUT_OF_RANGE. */
  readonly statuses: readonly ValueStatus[];
  /** Whether every value is PRESENT. */
  readonly allPresent: boolean;
  /** The row's version; -1: there is no row. */
  readonly version: number;
  /** The newest event time, microseconds; 0: none. */
  readonly eventTimeUs: number;
  /** What the values in `others` take, bytes, about. */
  readonly bytes: number;
  /** When it was last read, in turns of the step cache. */
  turn = 0;

  constructor(draft: StepDraft, version: number, eventTimeUs: number) {
    this.numbers = draft.numbers;
    this.others = draft.others;
    this.bytes = draft.others === undefined ? 0 : bytesOf(draft.others);
    this.statuses = draft.statuses;
    this.allPresent = draft.allPresent;
    this.version = version;
    this.eventTimeUs = eventTimeUs;
  }

  /** A step of values and statuses, by feature index. */
  static of(
    span: { readonly from: number; readonly until: number },
    values: readonly Held[],
    statuses: readonly ValueStatus[],
    version: number,
    eventTimeUs: number,
  ): Step {
    const draft = new StepDraft([span.from, span.until], statuses);
    draft.allPresent = statuses.every((status) => status === ValueStatus.PRESENT);
    for (let i = 0; i < values.length; i++) draft.numbers.push(0);
    for (let i = 0; i < values.length; i++) draft.set(i, values[i] as Held);
    return new Step(draft, version, eventTimeUs);
  }

  /** Whether the step holds at the time, microseconds. */
  holdsAt(tUs: number): boolean {
    return tUs < (this.numbers[1] as number) && tUs >= (this.numbers[0] as number);
  }

  /** The value of a feature; the kind's zero where there is none. */
  value(feature: number): Held {
    return this.others?.[feature] ?? (this.numbers[FIRST_NUMBER + feature] as number);
  }
}

/** A step that is being read. Its fields are those of a step. */
class StepDraft {
  readonly numbers: number[];
  others: (Held | undefined)[] | undefined = undefined;
  statuses: readonly ValueStatus[];
  allPresent = true;

  constructor(numbers: number[], statuses: readonly ValueStatus[]) {
    this.numbers = numbers;
    this.statuses = statuses;
  }

  set(feature: number, value: Held): void {
    if (typeof value === 'number') {
      this.numbers[FIRST_NUMBER + feature] = value;
      if (this.others !== undefined) this.others[feature] = undefined;
    } else {
      this.others ??= new Array<Held | undefined>(this.numbers.length - FIRST_NUMBER).fill(undefined);
      this.others[feature] = value;
    }
  }

  /** Sets a status that is not PRESENT, in a list of the step's own: where all are, steps share one. */
  setStatus(feature: number, status: ValueStatus): void {
    const own = this.allPresent ? [...this.statuses] : (this.statuses as ValueStatus[]);
    own[feature] = status;
    this.statuses = own;
    this.allPresent = false;
  }

  /** Narrows the times between which the step holds. */
  narrow(from: number, until: number): void {
    const { numbers } = this;
    if (from > (numbers[0] as number)) numbers[0] = from;
    if (until < (numbers[1] as number)) numbers[1] = until;
  }
}

function bytesOf(others: readonly (Held | undefined)[]): number {
  let bytes = 0;
  for (const value of others) {
    if (typeof value === 'bigint') bytes += BIGINT_BYTES;
    else if (value instanceof Uint8Array) bytes += value.length;
  }
  return bytes;
}

/** The step of an encoded freshet.type.v1.Row that holds at the time. Throws DATA_DAMAGED when it is none. */
export function readStep(row: Uint8Array, layout: RowLayout, tUs: number): Step {
  return readStepFrom(new WireReader(row), layout, tUs);
}

/** readStep for the message that the reader is at the beginning of. Keeps nothing of its bytes. */
export function readStepFrom(reader: WireReader, layout: RowLayout, tUs: number): Step {
  const { groups } = layout;
  const { end } = reader;
  // The copy of an array of doubles is one, and costs less than to fill a new one.
  const draft = new StepDraft(layout.blank.slice(), layout.allPresent);
  let version = 0;
  let eventTimeUs = 0;
  let group = 0;
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x08) version = reader.varint();
    else if (tag === 0x18) eventTimeUs = Number(reader.sint64());
    else if (tag === 0x22) {
      const timelineEnd = reader.length() + reader.position;
      const inGroup = groups[group++];
      if (inGroup === undefined) throw misfit('more timelines than the plan has');
      reader.end = timelineEnd;
      readTimeline(reader, layout, inGroup, tUs, draft);
      reader.within(timelineEnd, end);
    } else reader.skip(tag);
  }
  if (group !== groups.length) throw misfit('fewer timelines than the plan has');
  if (!draft.allPresent) substitute(draft, layout.features);
  return new Step(draft, version, eventTimeUs);
}

/** Puts defaults where there is nothing. */
function substitute(draft: StepDraft, features: readonly FeatureLayout[]): void {
  for (let i = 0; i < features.length; i++) {
    const instead = (features[i] as FeatureLayout).substitute;
    if (instead === undefined || draft.statuses[i] !== ValueStatus.ABSENT) continue;
    draft.set(i, instead);
    draft.setStatus(i, ValueStatus.DEFAULTED);
  }
}

// Where the columns of the timeline being read begin and end; valid within one call of readTimeline.
const columnStarts: number[] = [];
const columnEnds: number[] = [];

/** Narrows the draft to the timeline's step at the time, and takes the step's values. Leaves the reader anywhere. */
function readTimeline(
  reader: WireReader,
  layout: RowLayout,
  features: readonly number[],
  tUs: number,
  draft: StepDraft,
): void {
  let unitUs = 0;
  let firstStep = 0;
  let gaps = 0;
  let gapsEnd = 0;
  let hasSteps = false;
  let columns = 0;
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x2a) {
      const end = reader.length() + reader.position;
      if (columns === features.length) throw misfit('another number of columns than the plan has');
      columnStarts[columns] = reader.position;
      columnEnds[columns] = end;
      columns += 1;
      reader.position = end;
    } else if (tag === 0x08) unitUs = Number(reader.int64());
    else if (tag === 0x10) firstStep = Number(reader.sint64());
    else if (tag === 0x20) hasSteps = reader.varint() !== 0;
    else if (tag === 0x1a) {
      const end = reader.length() + reader.position;
      gaps = reader.position;
      gapsEnd = end;
      reader.position = end;
    } else reader.skip(tag);
  }
  if (columns !== features.length) throw misfit('another number of columns than the plan has');
  let index = 0;
  if (hasSteps) {
    reader.within(gaps, gapsEnd);
    index = stepAt(unitUs, firstStep, reader, tUs, draft);
  }
  for (let i = 0; i < columns; i++) {
    reader.within(columnStarts[i] as number, columnEnds[i] as number);
    const feature = features[i] as number;
    readValue(reader, (layout.features[feature] as FeatureLayout).kind, index, feature, draft);
  }
}

/** How many steps lie at or before the time; narrows the draft to what is between the two steps around it. */
function stepAt(unitUs: number, firstStep: number, gaps: WireReader, tUs: number, draft: StepDraft): number {
  let step = firstStep;
  if (tUs < step * unitUs) {
    draft.narrow(Number.NEGATIVE_INFINITY, step * unitUs);
    return 0;
  }
  let index = 1;
  let untilUs = Number.POSITIVE_INFINITY;
  while (gaps.more) {
    const next = step + gaps.varint();
    if (tUs < next * unitUs) {
      untilUs = next * unitUs;
      break;
    }
    step = next;
    index += 1;
  }
  draft.narrow(step * unitUs, untilUs);
  return index;
}

const STATUSES_FIELD = 15;

/** Takes the value and the status at the index of an encoded freshet.type.v1.ValueColumn. */
function readValue(column: WireReader, kind: Kind, index: number, feature: number, draft: StepDraft): void {
  let left = index;
  let found = false;
  while (column.more) {
    const tag = column.varint();
    const field = tag >>> 3;
    if ((tag & 7) !== 2 || (field !== kind && field !== STATUSES_FIELD)) {
      column.skip(tag);
      continue;
    }
    const end = column.length() + column.position;
    if (field === STATUSES_FIELD) {
      column.skipVarints(index);
      const told = column.varint() as ValueStatus;
      if (told > ValueStatus.PRESENT) draft.setStatus(feature, told);
    } else if (isNumberKind(kind)) {
      draft.set(feature, readNumber(column, kind, index, end));
      found = true;
    } else {
      // One element per field.
      if (left === 0) draft.set(feature, copyOf(column.buffer, column.position, end));
      found ||= left === 0;
      left -= 1;
    }
    column.position = end;
  }
  if (!found) throw misfit('a column without values of its type');
}

function readNumber(column: WireReader, kind: Kind, index: number, end: number): Held {
  if (kind === Kind.DOUBLE) {
    const at = column.position + index * 8;
    if (at + 8 > end) throw misfit('a column that ends early');
    return column.double(at);
  }
  column.skipVarints(index);
  if (column.position >= end) throw misfit('a column that ends early');
  return kind === Kind.BOOL ? column.varint() : column.sint64();
}

/** A copy of its own: slice of a Buffer would be a view of it. */
function copyOf(buffer: Uint8Array, from: number, to: number): Uint8Array {
  return Uint8Array.prototype.slice.call(buffer, from, to);
}

function misfit(what: string): FreshetError {
  return new FreshetError('DATA_DAMAGED', `a row has ${what}`);
}
