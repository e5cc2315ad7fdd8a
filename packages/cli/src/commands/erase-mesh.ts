/**
 * The part of an erase that is every other node's than ingest's: whom to ask, in which order, and what becomes of the answers.
 *
 *     every compute node that folds the shard, one after the other ▶ every serve node ▶ ingest, which keeps the receipt
 *
 * Owns that order, and the places of the receipt. What cannot be reached is left open in it, and asking again goes on. Does
 * not own how a node is reached, nor what it does.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ForgetEntityRequestSchema, ForgetEntityResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import type {
  ErasePlaceSchema,
  EraseState,
  NoteErasedRequestSchema,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type Node, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { ConfirmErasedRequestSchema, ConfirmErasedResponse } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { toFreshetError } from '@freshet/kit/grpc/error-mapping.ts';

export type ErasedPlace = MessageInitShape<typeof ErasePlaceSchema> & {
  readonly done: boolean;
  readonly place: string;
};

/** A node that the registry knows of. */
export type ErasingNode = Pick<Node, 'nodeId' | 'role' | 'address' | 'shards'>;

/** Reaches the nodes. Each call is one attempt, with a deadline. */
export interface EraseMesh {
  forget(node: ErasingNode, request: MessageInitShape<typeof ForgetEntityRequestSchema>): Promise<ForgetEntityResponse>;
  confirm(
    node: ErasingNode,
    request: MessageInitShape<typeof ConfirmErasedRequestSchema>,
  ): Promise<ConfirmErasedResponse>;
  note(request: MessageInitShape<typeof NoteErasedRequestSchema>): Promise<EraseState | undefined>;
}

export interface ElsewhereOptions {
  readonly setAside?: boolean | undefined;
  /** Nodes that are gone for good, by id. */
  readonly without?: readonly string[] | undefined;
  readonly signal: AbortSignal;
  /** Told of places as they are known. */
  readonly tell: (places: readonly ErasedPlace[]) => void;
}

/** Asks everybody; returns the erase as ingest has it then. Throws what ingest cannot be told. */
export async function eraseElsewhere(
  mesh: EraseMesh,
  state: EraseState,
  nodes: readonly ErasingNode[],
  options: ElsewhereOptions,
): Promise<EraseState> {
  const { eraseId, partition } = state;
  const places: ErasedPlace[] = [];
  const tell = (more: readonly ErasedPlace[]): void => {
    places.push(...more);
    options.tell(more);
  };
  const folding = nodes.filter(({ role, shards }) => role === Role.COMPUTE && shards.includes(partition));
  // One after the other: while a shard is rewritten another node that folds it goes on.
  for (const node of folding) tell(await forget(mesh, node, state, options));
  if (folding.length === 0) {
    const detail = 'no compute node that folds it is known now';
    tell([{ kind: 'shard', place: `shard ${partition}`, done: false, detail, count: 0n }]);
  } else if (state.places.some(({ place }) => place === `shard ${partition}`)) {
    tell([{ kind: 'shard', place: `shard ${partition}`, done: true, detail: 'see its nodes', count: 0n }]);
  }
  const serving = nodes.filter(({ role }) => role === Role.SERVE);
  for (const found of await Promise.all(serving.map((node) => confirm(mesh, node, state, options)))) tell(found);
  for (const node of options.without ?? []) tell(leftOut(state, node));
  const noted = await mesh.note({ eraseId, places: [...places, ...outside(state)], complete: false });
  if (noted?.places.every(({ done }) => done) !== true) return noted ?? state;
  return (await mesh.note({ eraseId, complete: true })) ?? state;
}

async function forget(
  mesh: EraseMesh,
  node: ErasingNode,
  state: EraseState,
  { setAside, signal }: ElsewhereOptions,
): Promise<ErasedPlace[]> {
  const { logId, partition: shard, offset, entityKey } = state;
  const place = `compute ${node.nodeId}, shard ${shard}`;
  try {
    const request = { logId, shard, offset, entityKey, setAside: setAside === true };
    const answer = await mesh.forget(node, request);
    return [
      { kind: 'shard', place, done: true, detail: shardText(answer), count: BigInt(answer.checkpointsRemoved) },
      ...asides(`compute ${node.nodeId}`, state, answer),
    ];
  } catch (error) {
    return [unreached('shard', place, error, signal)];
  }
}

function shardText({ position, checkpoint, checkpointsRemoved, viewsWithLaterRows }: ForgetEntityResponse): string {
  const later = viewsWithLaterRows.length;
  return (
    `state and journal rewritten at position ${position}; checkpoint taken at ${checkpoint}, ${checkpointsRemoved} ` +
    `before it removed${later === 0 ? '' : `; rows of what came since: in ${later} view(s)`}`
  );
}

async function confirm(
  mesh: EraseMesh,
  node: ErasingNode,
  state: EraseState,
  { setAside, signal }: ElsewhereOptions,
): Promise<ErasedPlace[]> {
  const { logId, partition: shard, offset, entityKey } = state;
  const place = `serve ${node.nodeId}`;
  try {
    const request = { logId, shard, offset, entityKey, setAside: setAside === true };
    const answer = await mesh.confirm(node, request);
    const count = BigInt(answer.rowsDropped);
    return [
      { kind: 'replica', place, done: answer.rowsLeft === 0, detail: replicaText(answer), count },
      ...asides(place, state, answer),
    ];
  } catch (error) {
    return [unreached('replica', place, error, signal)];
  }
}

function replicaText({ position, rowsLeft, laterRows }: ConfirmErasedResponse): string {
  if (rowsLeft > 0)
    return `it is at position ${position} and still has ${rowsLeft} row(s): see that compute was reached`;
  return `past the erase, at position ${position}, and holds no row${laterRows === 0 ? '' : ` but ${laterRows} of what came since`}`;
}

/** What a node has set aside; what it had when it was asked before, and has no more, is done. */
function asides(
  node: string,
  { places }: EraseState,
  { setAside, setAsideRemoved }: Pick<ForgetEntityResponse, 'setAside' | 'setAsideRemoved'>,
): ErasedPlace[] {
  const detail = setAsideRemoved
    ? 'removed'
    : 'put aside because it was damaged, and may hold the entity: remove it, or ask again with --set-aside';
  const found = setAside.map((path) => ({
    kind: 'set-aside',
    place: `${node} ${path}`,
    done: setAsideRemoved,
    detail,
    count: 1n,
  }));
  const gone = places.filter(
    ({ kind, place, done }) =>
      kind === 'set-aside' && !done && place.startsWith(`${node} `) && found.every((one) => one.place !== place),
  );
  return [
    ...found,
    ...gone.map(({ kind, place, count }) => ({ kind, place, done: true, detail: 'it is no longer there', count })),
  ];
}

function unreached(kind: string, place: string, error: unknown, signal: AbortSignal): ErasedPlace {
  signal.throwIfAborted();
  const { code, message } = toFreshetError(error);
  return { kind, place, done: false, detail: `${code}: ${message}`, count: 0n };
}

/** The places of a node that will not come back: nobody waits for them any more. */
function leftOut({ places }: EraseState, node: string): ErasedPlace[] {
  const its = places.filter(({ done, place }) => !done && place.split(/[ ,]/).includes(node));
  const detail = 'left out by hand (--without): its disk may hold the entity';
  return its.map(({ kind, place, count }) => ({ kind, place, done: true, detail, count }));
}

/** What Freshet cannot forget for anybody. */
function outside({ entity }: EraseState): ErasedPlace[] {
  const about = (place: string, detail: string): ErasedPlace => ({
    kind: 'outside',
    place,
    done: true,
    detail,
    count: 0n,
  });
  return [
    about('the source database', `rows of this ${entity} there come again with the next snapshot: delete them there`),
    about('backups and copies of data directories', 'made by others; what is restored of them brings the entity back'),
    about(
      'replicas that the registry did not know at the time',
      'a replica that comes back drops the entity with its first catch-up; a disk that does not come back keeps it',
    ),
    about('the log', 'where a row was there is a filler: its offset, its time, its length and a checksum stay'),
  ];
}
