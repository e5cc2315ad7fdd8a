/** freshet status: what every node is doing, one table each for registry, ingest, compute and serve. */
import { type DescMessage, type MessageShape, toJson } from '@bufbuild/protobuf';
import {
  ComputeService,
  type GetComputeStatusResponse,
  GetComputeStatusResponseSchema,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import {
  type GetIngestStatusResponse,
  GetIngestStatusResponseSchema,
  IngestService,
  SourceState,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import {
  type GetRegistryStatusResponse,
  GetRegistryStatusResponseSchema,
  type Node,
  RegistryService,
  Role,
} from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import {
  type GetServeStatusResponse,
  GetServeStatusResponseSchema,
  type ReplicaShardStatus,
  ServeService,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { type Condition, Severity } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { type FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { toFreshetError } from '@freshet/kit/grpc/error-mapping.ts';
import { liveNodes } from '../mesh-nodes.ts';
import { setText } from '../output/plan-text.ts';
import { table } from '../output/table.ts';
import { type Colour, paint, type Terminal } from '../output/terminal.ts';
import { countText, durationText } from '../output/values.ts';

/** What one node said, or why it did not. */
interface Answer<T> {
  readonly node: Node;
  readonly status?: T;
  readonly error?: FreshetError;
}

interface MeshStatus {
  /** Unset: the registry is older than the question. */
  readonly registry: GetRegistryStatusResponse | undefined;
  readonly definitions: DefinitionSet | undefined;
  readonly ingest: readonly Answer<GetIngestStatusResponse>[];
  readonly compute: readonly Answer<GetComputeStatusResponse>[];
  readonly serve: readonly Answer<GetServeStatusResponse>[];
}

export async function statusCommand(
  terminal: Terminal,
  options: { readonly registry: string; readonly json?: boolean },
): Promise<void> {
  const { signal } = terminal;
  const registry = createGrpcClient(RegistryService, options.registry);
  try {
    const [{ resolved }, about, nodes] = await Promise.all([
      registry.getDefinitions({}, { signal }),
      registry.getRegistryStatus({}, { signal }).catch(ifOlder),
      liveNodes(registry, signal),
    ]);
    const status = { registry: about, ...(await askAll(resolved, nodes, signal)) };
    terminal.out(
      options.json === true
        ? `${JSON.stringify(statusJson(options.registry, status))}\n`
        : statusText(terminal, options.registry, status),
    );
  } finally {
    registry.close();
  }
}

async function askAll(
  definitions: DefinitionSet | undefined,
  nodes: readonly Node[],
  signal: AbortSignal,
): Promise<Omit<MeshStatus, 'registry'>> {
  const of = (role: Role): Node[] => nodes.filter((node) => node.role === role);
  const [ingest, compute, serve] = await Promise.all([
    ask(of(Role.INGEST), async (address) => {
      const client = createGrpcClient(IngestService, address);
      return client.getIngestStatus({}, { signal }).finally(() => client.close());
    }),
    ask(of(Role.COMPUTE), async (address) => {
      const client = createGrpcClient(ComputeService, address);
      return client.getComputeStatus({}, { signal }).finally(() => client.close());
    }),
    ask(of(Role.SERVE), async (address) => {
      const client = createGrpcClient(ServeService, address);
      return client.getServeStatus({}, { signal }).finally(() => client.close());
    }),
  ]);
  return { definitions, ingest, compute, serve };
}

function ifOlder(error: unknown): undefined {
  if (!isFreshetError(error, 'UNIMPLEMENTED')) throw error;
}

/** Asks every node; one that does not answer is part of the status and not a failure of the command. */
function ask<T>(nodes: readonly Node[], call: (address: string) => Promise<T>): Promise<Answer<T>[]> {
  return Promise.all(
    nodes.map(async (node) => {
      try {
        return { node, status: await call(node.address) };
      } catch (error) {
        return { node, error: toFreshetError(error) };
      }
    }),
  );
}

function statusText(terminal: Terminal, registry: string, status: MeshStatus): string {
  const nowUs = terminal.clock.nowUs();
  return [
    registryText(terminal, registry, status),
    section(
      terminal,
      'ingest',
      status.ingest,
      (t, a) => ingestText(t, a, nowUs) + conditionsText(t, a.conditions, nowUs),
    ),
    section(
      terminal,
      'compute',
      status.compute,
      (t, a) => computeText(t, a, nowUs) + conditionsText(t, a.conditions, nowUs),
    ),
    section(terminal, 'serve', status.serve, (t, a) => serveText(t, a, nowUs) + conditionsText(t, a.conditions, nowUs)),
  ].join('\n');
}

function registryText(terminal: Terminal, address: string, { definitions, registry }: MeshStatus): string {
  const generation = definitions?.generation ?? 0n;
  const about = generation === 0n ? 'nothing was applied yet' : `generation ${generation}: ${setText(definitions)}`;
  const conditions = conditionsText(terminal, registry?.conditions ?? [], terminal.clock.nowUs());
  return `${paint(terminal, 'bold', `registry ${address}`)}\n${about}\n${conditions}`;
}

function section<T>(
  terminal: Terminal,
  role: string,
  answers: readonly Answer<T>[],
  show: (terminal: Terminal, status: T) => string,
): string {
  if (answers.length === 0)
    return `${paint(terminal, 'bold', role)}\n${paint(terminal, 'yellow', 'no node has announced itself')}\n`;
  return answers
    .map(({ node, status, error }) => {
      const title = paint(terminal, 'bold', `${role} ${node.address}`) + paint(terminal, 'dim', `  ${node.nodeId}`);
      const body =
        status === undefined
          ? `${paint(terminal, 'red', 'does not answer')}: ${error?.message ?? ''}\n`
          : show(terminal, status);
      return `${title}\n${body}`;
    })
    .join('\n');
}

const SEVERITIES: Readonly<Record<number, readonly [word: string, colour: Colour]>> = {
  [Severity.NOTE]: ['note', 'blue'],
  [Severity.PROBLEM]: ['problem', 'red'],
};

/** What a node says is not as it should be, whatever it is. */
function conditionsText(terminal: Terminal, conditions: readonly Condition[], nowUs: number): string {
  return conditions
    .map(({ severity, message, remedy, place, sinceUs }) => {
      const [word, colour] = SEVERITIES[severity] ?? ['warning', 'yellow'];
      const at = place === '' ? '' : `${place}: `;
      const since = paint(terminal, 'dim', `(since ${agoText(sinceUs, nowUs)})`);
      const fix = remedy === '' ? '' : `  ${paint(terminal, 'green', 'fix')} ${remedy.replaceAll('\n', '\n      ')}\n`;
      return `${paint(terminal, colour, word)} ${at}${message} ${since}\n${fix}`;
    })
    .join('');
}

const SOURCE_STATES: Readonly<Record<number, string>> = {
  [SourceState.CONNECTING]: 'connecting',
  [SourceState.SNAPSHOT]: 'snapshot',
  [SourceState.STREAMING]: 'streaming',
  [SourceState.HALTED]: 'halted',
};

function ingestText(terminal: Terminal, status: GetIngestStatusResponse, nowUs: number): string {
  const columns = [
    { head: 'database' },
    { head: 'state' },
    { head: 'routes', align: 'right' as const },
    { head: 'commits', align: 'right' as const },
    { head: 'rows', align: 'right' as const },
    { head: 'durable lsn' },
    { head: 'behind', align: 'right' as const },
  ];
  const rows = status.sources.map((source) => {
    const state = SOURCE_STATES[source.state] ?? 'unknown';
    const behind = source.serverLsn > source.durableLsn ? source.serverLsn - source.durableLsn : 0n;
    return [
      source.database,
      state === 'halted' ? paint(terminal, 'red', state) : state,
      String(source.routes.length),
      countText(source.commits),
      countText(source.rows),
      lsnText(source.durableLsn),
      `${countText(behind)} B`,
    ];
  });
  const problems = status.sources.flatMap(({ database, problem }) =>
    problem === undefined
      ? []
      : [
          `${paint(terminal, 'red', 'problem')} ${database}: ${problem.message}${problem.remedy === '' ? '' : `\n  ${paint(terminal, 'green', 'fix')} ${problem.remedy}`}\n`,
        ],
  );
  const held = status.held.map(
    (one) =>
      `${paint(terminal, 'yellow', 'held')} ${one.source} (${one.table}): ${countText(one.rows)} rows (${countText(one.bytes)} B) ` +
      `under contract ${one.contractVersion}, since ${agoText(one.sinceUs, nowUs)}${one.keysOnly ? ', of some keys only' : ''}\n`,
  );
  const alone = status.alone.map(
    ({ source, route, rows: count }) =>
      `${paint(terminal, 'yellow', 'aside')} ${source} (route ${route}): ${countText(count)} rows were put aside alone ` +
      `(freshet quarantine list ${source})\n`,
  );
  const quarantined = status.quarantined === 0n ? '' : `, ${countText(status.quarantined)} quarantined`;
  const totals = `${countText(status.records)} records (${countText(status.bytes)} B) since start${quarantined}\n`;
  return table(terminal, columns, rows) + problems.join('') + held.join('') + alone.join('') + totals;
}

function computeText(terminal: Terminal, status: GetComputeStatusResponse, nowUs: number): string {
  const right = 'right' as const;
  const columns = [
    { head: 'shard', align: right },
    { head: 'folded', align: right },
    { head: 'behind', align: right },
    { head: 'log time' },
    { head: 'gen', align: right },
    { head: 'keys', align: right },
    { head: 'expired', align: right },
    { head: 'cel errors', align: right },
    { head: 'join misses', align: right },
    { head: 'followers', align: right },
    { head: 'building' },
  ];
  const rows = status.shards.map((shard) => [
    String(shard.shard),
    countText(shard.position),
    countText(shard.logEnd > shard.position ? shard.logEnd - shard.position : 0n),
    agoText(shard.logTimeUs, nowUs),
    String(shard.definitionsGeneration),
    countText(shard.keys),
    countText(shard.expiredEvents),
    countText(shard.expressionErrors),
    countText(shard.joinMisses),
    String(shard.followers),
    shard.builds.length === 0 ? '' : `${shard.builds.length} views`,
  ]);
  return table(terminal, columns, rows);
}

function serveText(terminal: Terminal, status: GetServeStatusResponse, nowUs: number): string {
  const right = 'right' as const;
  const columns = [
    { head: 'shard', align: right },
    { head: 'position', align: right },
    { head: 'complete through' },
    { head: 'upstream' },
    { head: 'state' },
  ];
  const rows = status.shards.map((shard) => [
    String(shard.shard),
    countText(shard.position),
    agoText(shard.completeThroughUs, nowUs),
    shard.connected ? 'connected' : paint(terminal, 'yellow', 'not connected'),
    stateText(terminal, shard),
  ]);
  const newer = status.knownGeneration > status.servingGeneration ? ` (${status.knownGeneration} is being built)` : '';
  return `${table(terminal, columns, rows)}${countText(status.rows)} rows, serving generation ${status.servingGeneration}${newer}\n${onDemandText(terminal, status)}`;
}

/** The on-demand features that failed, since the node started. */
function onDemandText(terminal: Terminal, { onDemand }: GetServeStatusResponse): string {
  return onDemand
    .map(({ service, feature, errors, lastError }) => {
      const times = `${countText(errors)} time${errors === 1n ? '' : 's'}`;
      return `${paint(terminal, 'yellow', `on-demand feature ${feature} of ${service} failed ${times}`)}: ${lastError}\n`;
    })
    .join('');
}

function stateText(terminal: Terminal, shard: ReplicaShardStatus): string {
  // Its keys cannot be read until upstream has brought their rows again.
  if (shard.healing) return paint(terminal, 'red', 'healing');
  if (shard.catchingUp) return 'catching up';
  return shard.building.length > 0 ? `${shard.building.length} views incomplete` : 'live';
}

function agoText(us: bigint, nowUs: number): string {
  return us === 0n ? '–' : `${durationText(Math.max(0, nowUs - Number(us)))} ago`;
}

/** Postgres writes an LSN as two halves: "0/16B3748". */
function lsnText(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16)}/${(lsn & 0xffff_ffffn).toString(16)}`.toUpperCase();
}

function statusJson(address: string, status: MeshStatus): Record<string, unknown> {
  const { registry, definitions, ingest, compute, serve } = status;
  return {
    registry: {
      address,
      generation: (definitions?.generation ?? 0n).toString(),
      views: definitions?.views.map((view) => view.name) ?? [],
      services: definitions?.services.map((service) => service.name) ?? [],
      ...(registry && { status: toJson(GetRegistryStatusResponseSchema, registry, { alwaysEmitImplicit: true }) }),
    },
    ingest: ingest.map((answer) => answerJson(GetIngestStatusResponseSchema, answer)),
    compute: compute.map((answer) => answerJson(GetComputeStatusResponseSchema, answer)),
    serve: serve.map((answer) => answerJson(GetServeStatusResponseSchema, answer)),
  };
}

function answerJson<S extends DescMessage>(
  schema: S,
  { node, status, error }: Answer<MessageShape<S>>,
): Record<string, unknown> {
  return {
    nodeId: node.nodeId,
    address: node.address,
    ...(status !== undefined && { status: toJson(schema, status, { alwaysEmitImplicit: true }) }),
    ...(error !== undefined && { error: { code: error.code, message: error.message } }),
  };
}
