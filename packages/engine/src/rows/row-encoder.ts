/**
 * Encodes a key's state as a freshet.type.v1.Row: by hand, into a buffer that is reused, because a row is made for every
 * changed key. row-encoder.test.ts holds it to protobuf-es, byte for byte.
 *
 * Owns the bytes. Does not own which value holds when (timeline-steps.ts).
 */
import { Kind, ValueStatus, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { ABSENT, NO_EVENT_TIME, OUT_OF_RANGE, type Raw, type Result } from '../aggregates/aggregate.ts';
import { ByteWriter } from '../state/byte-writer.ts';
import { FIRST_GROUP, nextGroup } from '../state/cells.ts';
import type { KeyState } from '../state/key-state.ts';
import type { FeatureGroup, RunnableView } from '../state/view-plan.ts';
import { computeSteps, createSteps, type Steps } from './timeline-steps.ts';

const WIRE_BYTES = 2;

export class RowEncoder {
  readonly #writer = new ByteWriter();
  readonly #steps = createSteps();

  /** The row of the state, by default at its version. The bytes share a buffer with other rows (ByteWriter.takeShared). */
  encode(view: RunnableView, state: KeyState, version = state.version): Uint8Array {
    const w = this.#writer;
    const { cells, logTimeUs, newestUs } = state;
    w.reset();
    if (version !== 0) {
      w.byte(0x08);
      w.varint(version);
    }
    if (logTimeUs !== 0) {
      w.byte(0x10);
      w.zigzag(logTimeUs);
    }
    if (newestUs !== NO_EVENT_TIME) {
      w.byte(0x18);
      w.zigzag(newestUs);
    }
    for (let g = 0, at = FIRST_GROUP; g < view.groups.length; g++) {
      const group = view.groups[g] as FeatureGroup;
      computeSteps(group, cells, at, logTimeUs, newestUs, this.#steps);
      w.byte(0x22);
      const mark = w.begin();
      writeTimeline(w, group, this.#steps);
      w.end(mark);
      at = nextGroup(cells, at, group.stride);
    }
    return w.takeShared();
  }
}

function writeTimeline(w: ByteWriter, group: FeatureGroup, timeline: Steps): void {
  const { steps, unitUs, results } = timeline;
  w.byte(0x08);
  w.varint(unitUs);
  if (steps.length > 0) {
    if (steps[0] !== 0) {
      w.byte(0x10);
      w.zigzag(steps[0] as number);
    }
    if (steps.length > 1) {
      w.byte(0x1a);
      const mark = w.begin();
      for (let i = 1; i < steps.length; i++) w.varint((steps[i] as number) - (steps[i - 1] as number));
      w.end(mark);
    }
    w.byte(0x20);
    w.byte(1);
  }
  for (let f = 0; f < results.length; f++) {
    w.byte(0x2a);
    const mark = w.begin();
    const { resultType } = group.features[f] as (typeof group.features)[number];
    writeColumn(w, resultType, results[f] as Result[]);
    w.end(mark);
  }
}

/** A ValueColumn: the fields' numbers are those of the kinds. */
function writeColumn(w: ByteWriter, type: ValueType, results: readonly Result[]): void {
  const tag = (type.kind << 3) | WIRE_BYTES;
  switch (type.kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP: {
      w.byte(tag);
      const mark = w.begin();
      for (const result of results) w.zigzag(typeof result === 'symbol' ? 0 : (result as number | bigint));
      w.end(mark);
      break;
    }
    case Kind.DOUBLE: {
      w.byte(tag);
      const mark = w.begin();
      for (const result of results) w.double(typeof result === 'symbol' ? 0 : (result as number));
      w.end(mark);
      break;
    }
    case Kind.BOOL: {
      w.byte(tag);
      const mark = w.begin();
      for (const result of results) w.bool(result === true);
      w.end(mark);
      break;
    }
    default:
      for (const result of results) {
        w.byte(tag);
        writeLong(w, type, typeof result === 'symbol' ? undefined : result);
      }
  }
  writeStatuses(w, results);
}

/** An entry of a column that is not packed; undefined: the kind's zero. */
function writeLong(w: ByteWriter, type: ValueType, value: Raw | undefined): void {
  switch (type.kind) {
    case Kind.DECIMAL:
    case Kind.STRING:
      w.string((value as string | undefined) ?? '');
      return;
    case Kind.BYTES:
      if (value === undefined) w.byte(0);
      else w.bytes(value as Uint8Array);
      return;
    case Kind.LIST: {
      const mark = w.begin();
      const element: ValueType = { ...type, kind: type.element, element: Kind.UNSPECIFIED };
      for (const one of (value as readonly Raw[] | undefined) ?? []) {
        w.byte(0x0a);
        const inner = w.begin();
        if (one !== null) writeValue(w, element, one);
        w.end(inner);
      }
      w.end(mark);
      return;
    }
    default: {
      const mark = w.begin();
      const components = (value as Float32Array | undefined) ?? new Float32Array(0);
      if (components.length > 0) {
        w.byte(0x0a);
        w.varint(components.length * 4);
        for (const component of components) w.float(component);
      }
      w.end(mark);
    }
  }
}

/** The member of a Value. */
function writeValue(w: ByteWriter, type: ValueType, value: Exclude<Raw, null>): void {
  switch (type.kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      w.byte(type.kind << 3);
      w.zigzag(value as number | bigint);
      return;
    case Kind.DOUBLE:
      w.byte((type.kind << 3) | 1);
      w.double(value as number);
      return;
    case Kind.BOOL:
      w.byte(type.kind << 3);
      w.bool(value as boolean);
      return;
    default:
      w.byte((type.kind << 3) | WIRE_BYTES);
      writeLong(w, type, value);
  }
}

function statusOf(result: Result): ValueStatus {
  if (result === ABSENT) return ValueStatus.ABSENT;
  return result === OUT_OF_RANGE ? ValueStatus.OUT_OF_RANGE : ValueStatus.PRESENT;
}

function writeStatuses(w: ByteWriter, results: readonly Result[]): void {
  let isAllPresent = true;
  for (const result of results) if (typeof result === 'symbol') isAllPresent = false;
  if (isAllPresent) return;
  w.byte(0x7a);
  const mark = w.begin();
  for (const result of results) w.byte(statusOf(result));
  w.end(mark);
}
