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
import { type Cells, NO_EVENT_TIME } from '../aggregates/aggregate.ts';
import { ByteReader } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';
import { FIRST_GROUP, insertPane, nextGroup, paneCount } from './cells.ts';
import { emptyKeyState, type KeyState, sizeOfEncoded } from './key-state.ts';
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
  const { cells } = state;
  for (let g = 0, at = FIRST_GROUP; g < view.groups.length; g++) {
    const group = view.groups[g] as FeatureGroup;
    writeGroup(writer, group, cells, at);
    at = nextGroup(cells, at, group.stride);
  }
  return writer.takeShared();
}

function writeGroup(writer: ByteWriter, { stride, features }: FeatureGroup, cells: Cells, group: number): void {
  const count = paneCount(cells, group);
  writer.varint(count);
  if (count === 0) return;
  const end = nextGroup(cells, group, stride);
  writer.zigzag(cells[group + 1] as number);
  for (let at = group + 1 + stride; at < end; at += stride) {
    writer.varint((cells[at] as number) - (cells[at - stride] as number));
  }
  for (let f = 0; f < features.length; f++) {
    const { accumulator, cell } = features[f] as FeatureFold;
    const first = group + 1 + cell;
    for (let at = first; at < end; at += 8 * stride) writer.byte(presence(cells, at, stride, end));
    for (let at = first; at < end; at += stride) if (cells[at] !== 0) accumulator.write(writer, cells, at);
  }
}

/** A bit for each of the next eight accumulators of a feature that something was added to. */
function presence(cells: Cells, from: number, stride: number, end: number): number {
  let bits = 0;
  for (let i = 0, at = from; i < 8 && at < end; i++, at += stride) if (cells[at] !== 0) bits |= 1 << i;
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
  const version = reader.varint();
  state.storedVersion = version;
  const logTimeUs = reader.zigzag();
  state.setHead(version, logTimeUs, reader.bool() ? reader.zigzag() : NO_EVENT_TIME);
  for (let g = 0, at = FIRST_GROUP; g < view.groups.length; g++) {
    const group = view.groups[g] as FeatureGroup;
    state.cells = readGroup(reader, group, state.cells, at, view.numeric);
    at = nextGroup(state.cells, at, group.stride);
  }
  if (!reader.done) throw new FreshetError('DATA_DAMAGED', 'A stored key state is longer than what it holds.');
  state.sizeBytes = sizeOfEncoded(view, state, bytes.length);
  return state;
}

/** The version of an encoded state. */
export function readVersion(bytes: Uint8Array): number {
  const reader = new ByteReader(bytes);
  reader.byte();
  return reader.varint();
}

/** Reads the panes into the group that begins at an index; returns the cells. */
function readGroup(reader: ByteReader, group: FeatureGroup, into: Cells, start: number, numeric: boolean): Cells {
  const { stride, features } = group;
  const count = reader.varint();
  let cells = into;
  let pane = 0;
  for (let i = 0; i < count; i++) {
    pane = i === 0 ? reader.zigzag() : pane + reader.varint();
    cells = insertPane(cells, start, stride, start + 1 + i * stride, pane, numeric);
  }
  for (const { accumulator, cell } of features) {
    const bits: number[] = [];
    for (let from = 0; from < count; from += 8) bits.push(reader.byte());
    for (let i = 0; i < count; i++) {
      const isThere = ((bits[i >> 3] as number) >> (i & 7)) & 1;
      if (isThere === 1) accumulator.read(reader, cells, start + 1 + i * stride + cell);
    }
  }
  return cells;
}
