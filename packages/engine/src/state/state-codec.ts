/**
 * The bytes of a key's state, as they lie in the cold store. Canonical: equal states are equal bytes (F1), whatever way
 * they came about.
 *
 *     u8      format, 1
 *     varint  version
 *     zigzag  log time
 *     u8      whether there is a newest event time; zigzag: it
 *     per group: varint panes; zigzag number of the first; varint distance of each further one from the one before;
 *       per feature: ceil(panes / 8) bytes, a bit per pane that holds something; the accumulators of these
 *
 * Accumulators are written by their aggregates. A change of this layout takes a new format byte; decoders for old ones stay.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { NO_EVENT_TIME } from '../aggregates/aggregate.ts';
import { ByteReader } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';
import { emptyKeyState, type KeyState, sizeOfStored } from './key-state.ts';
import { NO_PANES, type Panes, paneCount, paneIndex, strideOf } from './panes.ts';
import type { FeatureFold, FeatureGroup, RunnableView } from './view-plan.ts';

const FORMAT = 1;

/** Encodes the state; the writer is reset first. The bytes share a buffer with other states (ByteWriter.takeShared). */
export function encodeState(writer: ByteWriter, view: RunnableView, state: KeyState): Uint8Array {
  writer.reset();
  writer.byte(FORMAT);
  writer.varint(state.version);
  writer.zigzag(state.logTimeUs);
  writer.bool(state.newestUs !== NO_EVENT_TIME);
  if (state.newestUs !== NO_EVENT_TIME) writer.zigzag(state.newestUs);
  for (let g = 0; g < view.groups.length; g++) {
    writeGroup(writer, view.groups[g] as FeatureGroup, state.groups[g] as Panes);
  }
  return writer.takeShared();
}

function writeGroup(writer: ByteWriter, group: FeatureGroup, panes: Panes): void {
  const count = paneCount(panes);
  const stride = strideOf(group.features.length);
  writer.varint(count);
  if (count === 0) return;
  writer.zigzag(panes[paneIndex(0, stride)] as number);
  for (let i = 1; i < count; i++) {
    const at = paneIndex(i, stride);
    writer.varint((panes[at] as number) - (panes[at - stride] as number));
  }
  const end = paneIndex(count, stride);
  for (let f = 0; f < group.features.length; f++) {
    const { accumulator } = group.features[f] as FeatureFold;
    const first = 2 + f;
    for (let at = first; at < end; at += 8 * stride) writer.byte(presence(panes, at, stride, end));
    for (let at = first; at < end; at += stride) {
      const one = panes[at];
      if (one !== undefined) accumulator.write(writer, one);
    }
  }
}

/** A bit for each of the next eight cells of a column that holds something. */
function presence(panes: Panes, from: number, stride: number, end: number): number {
  let bits = 0;
  for (let i = 0, at = from; i < 8 && at < end; i++, at += stride) if (panes[at] !== undefined) bits |= 1 << i;
  return bits;
}

/** The state that the bytes hold. Throws DATA_DAMAGED when they hold none. */
export function decodeState(view: RunnableView, key: string, bytes: Uint8Array): KeyState {
  const reader = new ByteReader(bytes);
  const format = reader.byte();
  if (format !== FORMAT) {
    throw new FreshetError(
      'DATA_DAMAGED',
      `A stored key state has format ${format}; this version reads format ${FORMAT}.`,
    );
  }
  const state = emptyKeyState(view, key);
  state.version = reader.varint();
  state.logTimeUs = reader.zigzag();
  state.newestUs = reader.bool() ? reader.zigzag() : NO_EVENT_TIME;
  view.groups.forEach((group, g) => {
    state.groups[g] = readGroup(reader, group);
  });
  if (!reader.done) throw new FreshetError('DATA_DAMAGED', 'A stored key state is longer than what it holds.');
  state.sizeBytes = sizeOfStored(key, bytes.length);
  return state;
}

/** The version of an encoded state. */
export function readVersion(bytes: Uint8Array): number {
  const reader = new ByteReader(bytes);
  reader.byte();
  return reader.varint();
}

function readGroup(reader: ByteReader, group: FeatureGroup): Panes {
  const count = reader.varint();
  if (count === 0) return NO_PANES;
  const stride = strideOf(group.features.length);
  const end = paneIndex(count, stride);
  const panes: Panes = new Array<unknown>(end).fill(undefined);
  panes[0] = count;
  let pane = reader.zigzag();
  for (let i = 0; i < count; i++) {
    if (i > 0) pane += reader.varint();
    panes[paneIndex(i, stride)] = pane;
  }
  group.features.forEach(({ accumulator }, f) => {
    const bits: number[] = [];
    for (let from = 0; from < count; from += 8) bits.push(reader.byte());
    for (let i = 0; i < count; i++) {
      const isThere = ((bits[i >> 3] as number) >> (i & 7)) & 1;
      if (isThere === 1) panes[paneIndex(i, stride) + 1 + f] = accumulator.read(reader);
    }
  });
  return panes;
}
