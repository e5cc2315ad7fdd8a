/**
 * GetFeatures, bytes to bytes: the read path of a serve node.
 *
 * Owns the order of things: request → selection → rows → on-demand features → answer. One call has one time T and looks
 * each row up once. A small call is answered at once; a large one, or one with much to compute, in turns with others.
 * Invariant R2: all features of one view and key in the answer come from one step of one version.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Catalog, ServedView } from '@freshet/replica/catalog.ts';
import { RowBatch } from '@freshet/replica/row-batch.ts';
import type { RowReader } from '@freshet/replica/row-reader.ts';
import { NOT_READABLE_US } from '@freshet/replica/view-table.ts';
import { BackwardWriter } from './backward-writer.ts';
import { Turns } from './in-turns.ts';
import { type EntityRows, type RequestedRows, requestedRows } from './keys.ts';
import { checkLimit, PART_ROWS, PART_VALUES, VALUES_MAX } from './limits.ts';
import { computeOnDemand } from './on-demand.ts';
import { OnDemandErrorCounts } from './on-demand-errors.ts';
import { type ReadRequest, readRequest } from './read-request.ts';
import { READER_HEADER, type ReaderCounts } from './reader-counts.ts';
import { type RequestData, requestData } from './request-data.ts';
import { type SelectedView, type Selection, Selections } from './selection.ts';
import { writeResponse } from './write-response.ts';

/** What is read from: a Replica. */
export interface FeatureSource {
  readonly catalog: Catalog;
  readonly reader: RowReader;
  /** The newest definitions known; undefined: none. */
  readonly definitions: object | undefined;
}

/**
 * Answers an encoded GetFeaturesRequest with an encoded GetFeaturesResponse, at once or in turns with others; the
 * latter ends with the call's signal. Throws what the caller is to be told.
 */
export type FeatureHandler = (request: Buffer, call?: FeatureCall) => Buffer | Promise<Buffer>;

/** What a call has beside its bytes. */
export interface FeatureCall {
  readonly signal: AbortSignal;
  header?(name: string): string;
}

export interface FeatureHandlerOptions {
  readonly clock: Clock;
  /** Resolves after whatever else was waiting has run. */
  readonly yieldNow: () => Promise<unknown>;
  /** Where on-demand features that fail are counted. */
  readonly errors?: OnDemandErrorCounts | undefined;
  /** Where it is counted who reads which service. */
  readonly readers?: ReaderCounts | undefined;
}

/** What a call reads, once it is known to be possible. */
interface Wanted {
  readonly catalog: Catalog;
  readonly selection: Selection;
  readonly rows: RequestedRows;
  readonly data: RequestData;
}

// As many sets of batches are kept for calls that are answered in turns.
const KEPT_BATCHES = 4;

export function createFeatureHandler(source: FeatureSource, options: FeatureHandlerOptions): FeatureHandler {
  const { clock } = options;
  const turns = new Turns(options);
  const selections = new Selections();
  const writer = new BackwardWriter();
  const errors = options.errors ?? new OnDemandErrorCounts();
  // One for each view of an answer, used again by every call that is answered at once.
  const batches: RowBatch[] = [];
  // Those of calls that are answered in turns, which must not be another's in between.
  const free: RowBatch[][] = [];
  const { reader } = source;

  /** Everything that has to be read, computed and written, by itself. */
  function* inParts(request: ReadRequest, first: Wanted, asOfUs: number): Generator<undefined, Buffer> {
    const own = free.pop() ?? [];
    try {
      let wanted = first;
      let completeThroughUs = completeness(wanted);
      yield* readRows(reader, own, wanted, asOfUs);
      if (wanted.catalog !== source.catalog) {
        // What was read is served by other tables now, and the old ones may be empty: once more, without a stop.
        wanted = want(source, selections, request);
        completeThroughUs = completeness(wanted);
        for (const _ of readRows(reader, own, wanted, asOfUs));
      }
      const { selection, rows, data } = wanted;
      const { onDemand, views, stored } = selection;
      if (onDemand !== undefined) {
        const results = batchAt(own, views.length);
        const call = { onDemand, stored, batches: own, data, count: rows.count, asOfUs };
        yield* computeOnDemand(call, results, errors);
      }
      const answer = { selection, count: rows.count, batches: own, rowInfo: request.rowInfo };
      return writeResponse(writer, answer, asOfUs, completeThroughUs);
    } finally {
      if (free.length < KEPT_BATCHES) free.push(own);
    }
  }

  return (bytes, call) => {
    const asOfUs = clock.nowUs();
    const request = readRequest(bytes);
    const wanted = want(source, selections, request);
    if (request.service !== '') options.readers?.add(request.service, call?.header?.(READER_HEADER) ?? '', asOfUs);
    const { selection, rows } = wanted;
    if (selection.onDemand !== undefined || rows.count * selection.outputs.length > PART_VALUES) {
      return turns.run(inParts(request, wanted, asOfUs), call);
    }
    const completeThroughUs = completeness(wanted);
    for (let i = 0; i < selection.views.length; i++) {
      const { view, entity } = selection.views[i] as SelectedView;
      reader.readAll(batchAt(batches, i), view, rows.entities[entity] as EntityRows, asOfUs);
    }
    const answer = { selection, count: rows.count, batches, rowInfo: request.rowInfo };
    return writeResponse(writer, answer, asOfUs, completeThroughUs);
  };
}

/** Throws what is wrong with the request. */
function want(source: FeatureSource, selections: Selections, request: ReadRequest): Wanted {
  const { catalog } = source;
  if (source.definitions === undefined) throw notReady();
  const selection = selections.select(catalog, request.service, request.features);
  const rows = requestedRows(selection, request.keys, catalog.shardCount);
  checkLimit(
    rows.count * selection.outputs.length,
    VALUES_MAX,
    'values (entities × features)',
    'Ask for fewer entities or features at once.',
  );
  const isPlain = selection.onDemand === undefined && request.data.length === 0;
  const data = isPlain ? [] : requestData(selection.onDemand?.request ?? [], request.data, rows.count);
  return { catalog, selection, rows, data };
}

function batchAt(batches: RowBatch[], index: number): RowBatch {
  batches[index] ??= new RowBatch();
  return batches[index];
}

/** Reads the rows of all views, and stops after each part of them. */
function* readRows(
  reader: RowReader,
  batches: RowBatch[],
  { selection, rows }: Wanted,
  asOfUs: number,
): Generator<undefined, void> {
  for (let i = 0; i < selection.views.length; i++) {
    const { view, entity } = selection.views[i] as SelectedView;
    const batch = batchAt(batches, i);
    batch.begin(rows.count);
    const step = Math.max(1, Math.min(PART_ROWS, Math.floor(PART_VALUES / view.layout.features.length)));
    for (let from = 0; from < rows.count; from += step) {
      const to = Math.min(from + step, rows.count);
      reader.readSome(batch, view, rows.entities[entity] as EntityRows, asOfUs, from, to);
      yield;
    }
  }
}

/** The least completeness of all views over the shards of the keys. Throws UNAVAILABLE when rows are not readable. */
function completeness({ selection, rows }: Wanted): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < selection.views.length; i++) {
    const { view, entity } = selection.views[i] as SelectedView;
    least = Math.min(least, viewCompleteness(view, rows.entities[entity] as EntityRows));
  }
  if (least === NOT_READABLE_US) throw healing();
  return least;
}

/** The least completeness over the shards of the keys; over all shards when there are no keys. */
function viewCompleteness({ tables }: ServedView, { shards }: EntityRows): number {
  let least = Number.POSITIVE_INFINITY;
  if (shards.length === 0) {
    for (const table of tables) if (table.completeThroughUs < least) least = table.completeThroughUs;
    return least;
  }
  for (let i = 0; i < shards.length; i++) {
    const through = tables[shards[i] as number]?.completeThroughUs ?? 0;
    if (through < least) least = through;
  }
  return least;
}

function healing(): FreshetError {
  return new FreshetError(
    'UNAVAILABLE',
    'the rows of a shard that the request needs were damaged on the disk of this node',
    {
      remedy: 'ask another node; this one has them again once upstream has sent them, and GetServeStatus tells when',
    },
  );
}

function notReady(): FreshetError {
  return new FreshetError('UNAVAILABLE', 'this node has no definitions yet', {
    remedy: 'apply definitions with `freshet apply`, and check that the node reaches the registry',
  });
}
