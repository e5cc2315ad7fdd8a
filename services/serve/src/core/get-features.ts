/**
 * GetFeatures, bytes to bytes: the read path of a serve node.
 *
 * Owns the order of things: request → selection → rows → answer. One call has one time T and looks each row up once.
 * Invariant R2: all features of one view and key in the answer come from one step of one version.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Catalog, ServedView } from '@freshet/replica/catalog.ts';
import { RowBatch } from '@freshet/replica/row-batch.ts';
import type { RowReader } from '@freshet/replica/row-reader.ts';
import { NOT_READABLE_US } from '@freshet/replica/view-table.ts';
import { BackwardWriter } from './backward-writer.ts';
import { type EntityRows, requestedRows } from './keys.ts';
import { checkLimit, VALUES_MAX } from './limits.ts';
import { readRequest } from './read-request.ts';
import { type SelectedView, Selections } from './selection.ts';
import { writeResponse } from './write-response.ts';

/** What is read from: a Replica. */
export interface FeatureSource {
  readonly catalog: Catalog;
  readonly reader: RowReader;
  /** The newest definitions known; undefined: none. */
  readonly definitions: object | undefined;
}

/** Answers an encoded GetFeaturesRequest with an encoded GetFeaturesResponse. Throws what the caller is to be told. */
export type FeatureHandler = (request: Buffer) => Buffer;

export function createFeatureHandler(source: FeatureSource, clock: Clock): FeatureHandler {
  const selections = new Selections();
  const writer = new BackwardWriter();
  // One for each view of an answer, used again by every call.
  const batches: RowBatch[] = [];
  const { reader } = source;
  return (bytes) => {
    const asOfUs = clock.nowUs();
    const request = readRequest(bytes);
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
    let completeThroughUs = Number.POSITIVE_INFINITY;
    for (let i = 0; i < selection.views.length; i++) {
      const { view, entity } = selection.views[i] as SelectedView;
      const wanted = rows.entities[entity] as EntityRows;
      completeThroughUs = Math.min(completeThroughUs, completeness(view, wanted));
      batches[i] ??= new RowBatch();
      reader.readAll(batches[i] as RowBatch, view, wanted, asOfUs);
    }
    if (completeThroughUs === NOT_READABLE_US) throw healing();
    const answer = { selection, count: rows.count, batches, rowInfo: request.rowInfo };
    return writeResponse(writer, answer, asOfUs, completeThroughUs);
  };
}

/** The least completeness over the shards of the keys; over all shards when there are no keys. */
function completeness({ tables }: ServedView, { shards }: EntityRows): number {
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
