/**
 * freshet erase: forget an entity in log, state, replicas and quarantine, and show the receipt.
 *
 * Owns what is asked of ingest, whose log tells the others, and what is shown. Does not own whom else to ask, nor in which
 * order (erase-mesh.ts), nor what a node does.
 */
import { randomBytes } from 'node:crypto';
import { toJson } from '@bufbuild/protobuf';
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { type EraseState, EraseStateSchema, IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type Node, RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { EntityPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { encodeKey } from '@freshet/values/key.ts';
import { liveNodes } from '../mesh-nodes.ts';
import { table } from '../output/table.ts';
import { paint, type Terminal } from '../output/terminal.ts';
import { countText, parseKeyValue, timestampText } from '../output/values.ts';
import { type ErasedPlace, type EraseMesh, eraseElsewhere } from './erase-mesh.ts';

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
    if (state.completedAtUs === undefined) {
      const { setAside, without } = options;
      const how = { setAside, without, signal: terminal.signal, tell: teller(terminal, options) };
      state = await eraseElsewhere(meshOf(ingest, terminal, options), state, nodes, how);
    }
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

/** The nodes over the network. */
function meshOf(ingest: GrpcClient<typeof IngestService>, { signal }: Terminal, { timeout }: EraseOptions): EraseMesh {
  return {
    forget: (node, request) =>
      called(createGrpcClient(ComputeService, node.address, { deadlineMs: timeout }), (client) =>
        client.forgetEntity(request, { signal }),
      ),
    confirm: (node, request) =>
      called(createGrpcClient(ServeService, node.address, { deadlineMs: timeout }), (client) =>
        client.confirmErased(request, { signal }),
      ),
    note: async (request) => (await ingest.noteErased(request, { signal })).erase,
  };
}

async function called<C extends { close(): void }, T>(client: C, call: (client: C) => Promise<T>): Promise<T> {
  try {
    return await call(client);
  } finally {
    client.close();
  }
}

/** Says of each place what became of it, as it is known. */
function teller(terminal: Terminal, { json }: EraseOptions): (places: readonly ErasedPlace[]) => void {
  return (places) => {
    if (json === true) return;
    for (const { place, done, detail } of places) terminal.err(`${place}: ${done ? 'done' : `not done: ${detail}`}\n`);
  };
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
