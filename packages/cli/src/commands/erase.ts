/**
 * freshet erase: forget an entity in log, state, replicas and quarantine, and show the receipt.
 *
 * Owns asking every node in order: ingest, whose log tells the others; every compute node that folds the shard; every serve
 * node; and then ingest again, which keeps the receipt. What cannot be reached is left open in it, and asking again by its
 * id goes on. Does not own what a node does.
 */
import { randomBytes } from 'node:crypto';
import { type MessageInitShape, toJson } from '@bufbuild/protobuf';
import { ComputeService, type ForgetEntityResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import {
  type ErasePlaceSchema,
  type EraseState,
  EraseStateSchema,
  IngestService,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type Node, RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { type ConfirmErasedResponse, ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { EntityPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { toFreshetError } from '@freshet/kit/grpc/error-mapping.ts';
import { encodeKey } from '@freshet/values/key.ts';
import { liveNodes } from '../mesh-nodes.ts';
import { table } from '../output/table.ts';
import { paint, type Terminal } from '../output/terminal.ts';
import { countText, parseKeyValue, timestampText } from '../output/values.ts';

export interface EraseOptions {
  readonly registry: string;
  /** The id of an erase that was begun. */
  readonly receipt?: string | undefined;
  /** The id that a new one is to have. */
  readonly id?: string | undefined;
  readonly setAside?: boolean | undefined;
  /** Nodes that are gone for good, by id. */
  readonly without?: readonly string[] | undefined;
  /** How long a node may take, milliseconds. */
  readonly timeout: number;
  readonly yes?: boolean | undefined;
  readonly json?: boolean | undefined;
}

type Place = MessageInitShape<typeof ErasePlaceSchema> & { readonly done: boolean; readonly place: string };

/** Says whether nothing is left to be done. Throws what keeps the erase from being begun. */
export async function eraseCommand(
  terminal: Terminal,
  entity: string | undefined,
  key: readonly string[],
  options: EraseOptions,
): Promise<boolean> {
  const registry = createGrpcClient(RegistryService, options.registry, { deadlineMs: 10_000 });
  let ingest: GrpcClient<typeof IngestService> | undefined;
  try {
    const nodes = await liveNodes(registry, terminal.signal);
    ingest = createGrpcClient(IngestService, ingestAddress(nodes), { deadlineMs: options.timeout });
    const wish = await wishOf(registry, terminal, entity, key, options);
    if (entity !== undefined && !(await confirmed(terminal, `${entity} ${key.join(' ')}`, options))) return false;
    let state = await eraseAtIngest(ingest, wish, terminal, options);
    if (state.completedAtUs === undefined) state = await eraseElsewhere(ingest, state, nodes, terminal, options);
    terminal.out(options.json === true ? `${JSON.stringify(receiptJson(state))}\n` : receiptText(terminal, state));
    return state.completedAtUs !== undefined;
  } finally {
    ingest?.close();
    registry.close();
  }
}

function ingestAddress(nodes: readonly Node[]): string {
  const found = nodes.find(({ role }) => role === Role.INGEST)?.address;
  if (found !== undefined) return found;
  throw new FreshetError('UNAVAILABLE', 'the registry knows of no ingest node now', {
    remedy: 'start ingest: the log, the quarantine and the receipts are its own',
  });
}

interface Wish {
  readonly eraseId: string;
  readonly entity: string;
  readonly entityKey: Uint8Array;
}

async function wishOf(
  registry: GrpcClient<typeof RegistryService>,
  terminal: Terminal,
  entity: string | undefined,
  key: readonly string[],
  { receipt, id }: EraseOptions,
): Promise<Wish> {
  if (entity === undefined) return { eraseId: receipt ?? '', entity: '', entityKey: new Uint8Array(0) };
  const { resolved } = await registry.getDefinitions({}, { signal: terminal.signal });
  const plans = resolved?.views.flatMap((view) => (view.entity === undefined ? [] : [view.entity])) ?? [];
  const plan = plans.find(({ name }) => name === entity);
  if (plan === undefined) {
    const names = [...new Set(plans.map(({ name }) => name))];
    const near = closest(entity, names);
    throw new FreshetError('INVALID_REQUEST', `no view in force is of an entity ${entity}`, {
      place: 'entity',
      remedy: near === undefined ? `the entities are ${names.join(', ')}` : `did you mean ${near}?`,
    });
  }
  const day = timestampText(BigInt(Math.floor(terminal.clock.nowUs()))).slice(0, 10);
  const eraseId = receipt ?? id ?? `${day}-${randomBytes(4).toString('hex')}`;
  return { eraseId, entity, entityKey: keyOf(plan, key) };
}

function keyOf(plan: EntityPlan, texts: readonly string[]): Uint8Array {
  const names = plan.key.map(({ name }) => name);
  if (texts.length !== names.length) {
    throw new FreshetError('WRONG_KEY', `the key of ${plan.name} has ${names.length} column(s), not ${texts.length}`, {
      remedy: `give ${names.map((name) => `<${name}>`).join(' ')}`,
      place: 'key',
    });
  }
  return encodeKey(
    plan.key.map(({ kind }) => kind),
    plan.key.map(({ name, kind }, i) => parseKeyValue(name, kind, texts[i] ?? '')),
  );
}

async function confirmed(terminal: Terminal, what: string, { yes, receipt }: EraseOptions): Promise<boolean> {
  if (yes === true || receipt !== undefined || terminal.confirm === undefined) return true;
  return terminal.confirm(`Forget ${what} for good, in log, state, replicas and quarantine?`);
}

async function eraseAtIngest(
  ingest: GrpcClient<typeof IngestService>,
  wish: Wish,
  terminal: Terminal,
  { setAside, json }: EraseOptions,
): Promise<EraseState> {
  let state: EraseState | undefined;
  const request = { ...wish, setAside: setAside === true };
  for await (const { step, erase } of ingest.eraseEntity(request, { signal: terminal.signal })) {
    if (erase === undefined) continue;
    state = erase;
    if (json !== true) terminal.err(`${wish.eraseId}: ${STEPS[step] ?? step}\n`);
  }
  if (state !== undefined) return state;
  throw new FreshetError('INTERNAL', 'ingest said nothing about the erase');
}

const STEPS: Readonly<Record<string, string>> = {
  appended: 'the erase is in the log',
  log: 'its rows are out of the log',
  quarantine: 'its rows are out of the quarantine',
};

async function eraseElsewhere(
  ingest: GrpcClient<typeof IngestService>,
  state: EraseState,
  nodes: readonly Node[],
  terminal: Terminal,
  options: EraseOptions,
): Promise<EraseState> {
  const places: Place[] = [];
  const tell = (more: readonly Place[]): void => {
    places.push(...more);
    if (options.json === true) return;
    for (const { place, done, detail } of more) terminal.err(`${place}: ${done ? 'done' : `not done: ${detail}`}\n`);
  };
  const folding = nodes.filter(({ role, shards }) => role === Role.COMPUTE && shards.includes(state.partition));
  // One after the other: while a shard is rewritten another node that folds it goes on.
  for (const node of folding) tell(await forget(node, state, terminal, options));
  if (folding.length === 0) {
    const detail = 'no compute node that folds it is known now';
    tell([{ kind: 'shard', place: `shard ${state.partition}`, done: false, detail, count: 0n }]);
  } else if (state.places.some(({ place }) => place === `shard ${state.partition}`)) {
    tell([{ kind: 'shard', place: `shard ${state.partition}`, done: true, detail: 'see its nodes', count: 0n }]);
  }
  const serving = nodes.filter(({ role }) => role === Role.SERVE);
  for (const found of await Promise.all(serving.map((node) => confirm(node, state, terminal, options)))) tell(found);
  for (const node of options.without ?? []) tell(leftOut(state, node));
  const all = [...places, ...outside(state)];
  const noted = await ingest.noteErased(
    { eraseId: state.eraseId, places: all, complete: false },
    { signal: terminal.signal },
  );
  const isDone = noted.erase?.places.every(({ done }) => done) === true;
  if (!isDone) return noted.erase ?? state;
  const { erase } = await ingest.noteErased({ eraseId: state.eraseId, complete: true }, { signal: terminal.signal });
  return erase ?? state;
}

async function forget(node: Node, state: EraseState, terminal: Terminal, options: EraseOptions): Promise<Place[]> {
  const place = `compute ${node.nodeId}, shard ${state.partition}`;
  const client = createGrpcClient(ComputeService, node.address, { deadlineMs: options.timeout });
  const { logId, partition: shard, offset, entityKey } = state;
  try {
    const answer = await client.forgetEntity(
      { logId, shard, offset, entityKey, setAside: options.setAside === true },
      { signal: terminal.signal },
    );
    return [
      { kind: 'shard', place, done: true, detail: shardText(answer), count: BigInt(answer.checkpointsRemoved) },
      ...asides(`compute ${node.nodeId}`, answer),
    ];
  } catch (error) {
    return [unreached('shard', place, error, terminal)];
  } finally {
    client.close();
  }
}

function shardText({ position, checkpoint, checkpointsRemoved, viewsWithLaterRows }: ForgetEntityResponse): string {
  const later = viewsWithLaterRows.length;
  return (
    `state and journal rewritten at position ${position}; checkpoint taken at ${checkpoint}, ${checkpointsRemoved} ` +
    `before it removed${later === 0 ? '' : `; rows of what came since: in ${later} view(s)`}`
  );
}

async function confirm(node: Node, state: EraseState, terminal: Terminal, options: EraseOptions): Promise<Place[]> {
  const place = `serve ${node.nodeId}`;
  const client = createGrpcClient(ServeService, node.address, { deadlineMs: options.timeout });
  const { logId, partition: shard, offset, entityKey } = state;
  try {
    const answer = await client.confirmErased(
      { logId, shard, offset, entityKey, setAside: options.setAside === true },
      { signal: terminal.signal },
    );
    const count = BigInt(answer.rowsDropped);
    return [
      { kind: 'replica', place, done: answer.rowsLeft === 0, detail: replicaText(answer), count },
      ...asides(place, answer),
    ];
  } catch (error) {
    return [unreached('replica', place, error, terminal)];
  } finally {
    client.close();
  }
}

function replicaText({ position, rowsLeft, laterRows }: ConfirmErasedResponse): string {
  if (rowsLeft > 0)
    return `it is at position ${position} and still has ${rowsLeft} row(s): see that compute was reached`;
  return `past the erase, at position ${position}, and holds no row${laterRows === 0 ? '' : ` but ${laterRows} of what came since`}`;
}

function asides(
  node: string,
  { setAside, setAsideRemoved }: Pick<ForgetEntityResponse, 'setAside' | 'setAsideRemoved'>,
): Place[] {
  const detail = setAsideRemoved
    ? 'removed'
    : 'put aside because it was damaged, and may hold the entity: remove it, or ask again with --set-aside';
  return setAside.map((path) => ({
    kind: 'set-aside',
    place: `${node} ${path}`,
    done: setAsideRemoved,
    detail,
    count: 1n,
  }));
}

function unreached(kind: string, place: string, error: unknown, { signal }: Terminal): Place {
  signal.throwIfAborted();
  const { code, message } = toFreshetError(error);
  return { kind, place, done: false, detail: `${code}: ${message}`, count: 0n };
}

/** The places of a node that will not come back: nobody waits for them any more. */
function leftOut({ places }: EraseState, node: string): Place[] {
  const its = places.filter(({ done, place }) => !done && place.split(/[ ,]/).includes(node));
  const detail = 'left out by hand (--without): its disk may hold the entity';
  return its.map(({ kind, place, count }) => ({ kind, place, done: true, detail, count }));
}

/** What Freshet cannot forget for anybody. */
function outside({ entity }: EraseState): Place[] {
  const about = (place: string, detail: string): Place => ({ kind: 'outside', place, done: true, detail, count: 0n });
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

export function receiptJson(state: EraseState): unknown {
  const { entityKey: _, ...receipt } = toJson(EraseStateSchema, state) as Record<string, unknown>;
  return { complete: state.completedAtUs !== undefined, ...receipt };
}

export function receiptText(terminal: Terminal, state: EraseState): string {
  const { eraseId, entity, askedAtUs, completedAtUs, partition, offset, keyHash, views } = state;
  const isDone = completedAtUs !== undefined;
  const head = isDone
    ? `erased at ${timestampText(completedAtUs)}`
    : paint(terminal, 'yellow', `not complete: go on with freshet erase --receipt ${eraseId}`);
  const rows = state.places.map(({ kind, place, done, detail, count }) => [
    done ? (kind === 'outside' ? 'note' : paint(terminal, 'green', 'done')) : paint(terminal, 'yellow', 'open'),
    kind,
    count === 0n ? '' : countText(count),
    place,
    detail,
  ]);
  const columns = [
    { head: '' },
    { head: 'what' },
    { head: 'count', align: 'right' as const },
    { head: 'where' },
    { head: 'what became of it' },
  ];
  return [
    `${paint(terminal, 'bold', `receipt ${eraseId}`)}: a ${entity}, ${head}`,
    `asked for at ${timestampText(askedAtUs)}; partition ${partition}, offset ${offset}; views ${views.join(', ')}`,
    `SHA-256 of salt ${Buffer.from(state.salt).toString('hex')}, entity, 00 and key: ${Buffer.from(keyHash).toString('hex')}`,
    '',
    table(terminal, columns, rows),
  ].join('\n');
}
