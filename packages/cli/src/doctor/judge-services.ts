/**
 * Judges a running mesh: every service answers, can work, is of one version, is not behind, and nothing that it says of
 * itself is wrong. Pure. Which conditions there are is the services' business: whatever they list is shown.
 */
import type { GetComputeStatusResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { type GetIngestStatusResponse, SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { GetRegistryStatusResponse, Node } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { GetServeStatusResponse } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { type Condition, Severity } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import { countText, durationText } from '../output/values.ts';
import { type Finding, Findings } from './finding.ts';

/** What a node said, or why it did not. */
export interface NodeFacts {
  readonly node: Node;
  /** What it says to grpc.health.v1: whether it answers at all, and whether it can do its work. */
  readonly healthy: boolean;
  readonly ready: boolean;
  readonly answer:
    | { readonly role: 'ingest'; readonly status: GetIngestStatusResponse }
    | { readonly role: 'compute'; readonly status: GetComputeStatusResponse }
    | { readonly role: 'serve'; readonly status: GetServeStatusResponse }
    | { readonly role: string; readonly error: FreshetError };
}

export interface MeshFacts {
  readonly registryAddress: string;
  readonly registry: GetRegistryStatusResponse;
  readonly nodes: readonly NodeFacts[];
}

export interface ServicesContext {
  readonly nowUs: number;
  /** Our own version and what we run on. */
  readonly version: string;
  readonly runtime: string;
}

/** Ticks come every second: a shard or a replica that is this far back does not get them. */
const STALE_WARNING_US = 10_000_000;
const STALE_PROBLEM_US = 120_000_000;
/** Checkpoints are taken every ten minutes by default. */
const CHECKPOINT_OLD_US = 3_600_000_000;

export function judgeServices(mesh: MeshFacts, context: ServicesContext): Finding[] {
  const findings = new Findings('services');
  const { registry, registryAddress, nodes } = mesh;
  const place = `registry ${registryAddress}`;
  findings.ok(
    registry.generation === 0n
      ? 'the registry answers; nothing was applied yet'
      : `the registry answers; generation ${registry.generation} is in force`,
    place,
  );
  judgeVersion(findings, place, registry, context);
  judgeConditions(findings, place, registry.conditions, context);
  for (const role of ['ingest', 'compute', 'serve']) {
    if (nodes.some(({ answer }) => answer.role === role)) continue;
    findings.problem({
      message: `no ${role} node has announced itself`,
      remedy: `start one with --registry=${registryAddress}; freshet up runs all of them`,
    });
  }
  for (const node of nodes) judgeNode(findings, node, mesh, context);
  judgeShards(findings, nodes);
  return findings.list;
}

function judgeNode(findings: Findings, facts: NodeFacts, { registry }: MeshFacts, context: ServicesContext): void {
  const { node, answer, healthy, ready } = facts;
  const place = `${answer.role} ${node.address}`;
  judgeVersion(findings, place, node, context);
  if ('error' in answer) {
    findings.problem({
      message: `it does not answer: ${answer.error.message}`,
      remedy: 'see that its process runs and is not stopped; its log says more',
      place,
    });
    return;
  }
  const before = findings.list.length;
  if (!healthy) {
    findings.problem({ message: 'it is not healthy', remedy: 'it is starting or stopping; see its log', place });
  } else if (!ready) {
    findings.warning({ message: 'it is not ready to do its work', remedy: 'its conditions or its log say why', place });
  }
  judgeConditions(findings, place, answer.status.conditions, context);
  if (answer.role === 'ingest') judgeIngest(findings, place, answer.status, registry.generation);
  else if (answer.role === 'compute') judgeCompute(findings, place, answer.status, registry.generation, context);
  else judgeServe(findings, place, answer.status, context);
  if (findings.list.length === before) findings.ok('it answers and keeps up', place);
}

function judgeVersion(
  findings: Findings,
  place: string,
  other: { readonly version: string; readonly runtime: string },
  { version, runtime }: ServicesContext,
): void {
  if (other.version !== version) {
    findings.warning({
      message: `it runs Freshet ${other.version || 'of an unknown, older version'}, and this is ${version}`,
      remedy: 'bring the mesh to one version: registry first, then ingest, compute, serve',
      place,
    });
  }
  const major = (text: string): string => text.split('.')[0] ?? '';
  if (other.runtime !== '' && major(other.runtime) !== major(runtime)) {
    findings.warning({
      message: `it runs on ${other.runtime}, and this is ${runtime}`,
      remedy: 'run npm install there, which brings the pinned Node, and start it again',
      place,
    });
  }
}

function judgeConditions(
  findings: Findings,
  place: string,
  conditions: readonly Condition[],
  { nowUs }: ServicesContext,
): void {
  for (const condition of conditions) {
    const at = condition.place === '' ? '' : ` (${condition.place})`;
    const text = {
      message: `${condition.message}${at}, for ${durationText(Math.max(0, nowUs - Number(condition.sinceUs)))} [${condition.code}]`,
      remedy: condition.remedy,
      place,
    };
    if (condition.severity === Severity.PROBLEM) findings.problem(text);
    else if (condition.severity === Severity.NOTE) findings.note(text);
    else findings.warning(text);
  }
}

function judgeIngest(findings: Findings, place: string, status: GetIngestStatusResponse, generation: bigint): void {
  for (const { database, state, problem, routes } of status.sources) {
    if (state === SourceState.HALTED || problem !== undefined) {
      const text = {
        message: `database ${database} is not captured: ${problem?.message ?? 'it is halted'}`,
        remedy: problem?.remedy,
        place,
      };
      if (state === SourceState.HALTED) findings.problem(text);
      else findings.warning(text);
    } else if (state === SourceState.SNAPSHOT) {
      findings.note({ message: `database ${database}: the initial rows are being read`, place });
    } else if (routes.length === 0) {
      findings.note({ message: `nothing of database ${database} is captured: no definitions name it`, place });
    } else if (state !== SourceState.STREAMING) {
      findings.warning({ message: `database ${database} is being connected to`, remedy: 'see its log', place });
    }
  }
  if (status.quarantined > 0n) {
    findings.warning({
      message: `${countText(status.quarantined)} records are in quarantine`,
      remedy: 'each has its reason: freshet quarantine list; then release or discard them',
      place,
    });
  }
  for (const { partition, overrun } of status.partitions) {
    if (overrun !== '') findings.warning({ message: `partition ${partition} of the log: ${overrun}`, place });
  }
  judgeGeneration(findings, place, status.definitionsGeneration, generation);
}

function judgeCompute(
  findings: Findings,
  place: string,
  status: GetComputeStatusResponse,
  generation: bigint,
  { nowUs }: ServicesContext,
): void {
  const ages = status.shards
    .filter(({ logTimeUs }) => logTimeUs > 0n)
    .map(({ logTimeUs }) => nowUs - Number(logTimeUs));
  judgeAge(
    findings,
    place,
    'its shards are folded through',
    ages,
    'see what it is doing in freshet status; it may be catching up',
  );
  judgeCheckpoints(findings, place, status, nowUs);
  const builds = status.shards.filter(({ builds: b }) => b.length > 0).length;
  if (builds > 0) findings.note({ message: `views are being built in ${builds} shards`, place });
  const least = status.shards.reduce<bigint | undefined>(
    (min, { definitionsGeneration: g }) => (min === undefined || g < min ? g : min),
    undefined,
  );
  if (least !== undefined) judgeGeneration(findings, place, least, generation);
}

/** The log is kept back to the oldest checkpoint, so one that is not renewed keeps the log growing. */
function judgeCheckpoints(
  findings: Findings,
  place: string,
  { shards }: GetComputeStatusResponse,
  nowUs: number,
): void {
  const none = shards.filter(({ checkpoints, position }) => checkpoints.length === 0 && position > 0n);
  if (none.length > 0) {
    findings.note({
      message: `shards ${listText(none.map(({ shard }) => shard))} have no checkpoint yet; the log is not trimmed for them`,
      place,
    });
  }
  const old = shards.filter(({ checkpoints: [newest], committed }) => {
    return newest !== undefined && newest.position < committed && nowUs - Number(newest.takenAtUs) > CHECKPOINT_OLD_US;
  });
  if (old.length > 0) {
    findings.warning({
      message: `shards ${listText(old.map(({ shard }) => shard))} have had no new checkpoint for more than ${durationText(CHECKPOINT_OLD_US)}; the log cannot be trimmed beyond the last`,
      remedy: 'its log says why one could not be written; see the disk of its data directory',
      place,
    });
  }
  const repaired = shards.filter(({ repairs }) => repairs > 0);
  if (repaired.length > 0) {
    findings.note({
      message: `the stores of shards ${listText(repaired.map(({ shard }) => shard))} were damaged and made anew since it started`,
      remedy: 'nothing is to be done; look at the disk if it happens again (smartctl, the kernel log)',
      place,
    });
  }
}

function judgeServe(findings: Findings, place: string, status: GetServeStatusResponse, context: ServicesContext): void {
  const apart = status.shards.filter(({ connected }) => !connected).map(({ shard }) => shard);
  if (apart.length > 0) {
    findings.warning({
      message: `it has no upstream for shards ${listText(apart)}; it serves what it has`,
      remedy: 'see that a compute node, or a serve node above, folds or holds them and can be reached',
      place,
    });
  }
  const catching = status.shards.filter(({ catchingUp }) => catchingUp).length;
  if (catching > 0) findings.note({ message: `${catching} shards are catching up`, place });
  if (status.knownGeneration > status.servingGeneration) {
    findings.note({
      message: `it serves generation ${status.servingGeneration} until ${status.knownGeneration} is complete`,
      place,
    });
  }
  const ages = status.shards
    .filter(({ completeThroughUs }) => completeThroughUs > 0n)
    .map(({ completeThroughUs }) => context.nowUs - Number(completeThroughUs));
  judgeAge(findings, place, 'it is complete through', ages, 'see its upstream, and that ingest writes ticks');
}

function judgeAge(findings: Findings, place: string, what: string, agesUs: readonly number[], remedy: string): void {
  const oldest = Math.max(0, ...agesUs);
  if (oldest <= STALE_WARNING_US) return;
  const text = { message: `${what} ${durationText(oldest)} ago at the worst`, remedy, place };
  if (oldest > STALE_PROBLEM_US) findings.problem(text);
  else findings.warning(text);
}

function judgeGeneration(findings: Findings, place: string, known: bigint, inForce: bigint): void {
  if (known >= inForce) return;
  findings.note({ message: `it has the definitions of generation ${known}; ${inForce} is in force`, place });
}

/** Every partition must be folded by somebody. */
function judgeShards(findings: Findings, nodes: readonly NodeFacts[]): void {
  const partitions = Math.max(0, ...nodes.map(({ node }) => node.partitions));
  const folded = new Set<number>();
  for (const { answer } of nodes) {
    if (answer.role === 'compute' && 'status' in answer)
      for (const { shard } of answer.status.shards) folded.add(shard);
  }
  const missing = Array.from({ length: partitions }, (_, shard) => shard).filter((shard) => !folded.has(shard));
  if (missing.length === 0 || folded.size === 0) return;
  findings.problem({
    message: `nobody folds shards ${listText(missing)}`,
    remedy: 'start a compute node for them (--shards), or see why the one that had them ended',
  });
}

function listText(numbers: readonly number[]): string {
  return numbers.length <= 10
    ? numbers.join(', ')
    : `${numbers.slice(0, 10).join(', ')} and ${numbers.length - 10} more`;
}
