/**
 * What else changes under the shop of orders.ts: its definitions, applied as drawn, and its routes' generations, asked for in
 * the two ways there are, as people do (`--resync` with a new word) and as a compute node does (RequestGenerations).
 *
 * Owns what is drawn, that it is carried out however often a process dies meanwhile, and when all of it is served. Does not
 * own the verdict: that is SQL's (orders.ts).
 */
import { setTimeout as pause } from 'node:timers/promises';
import { planAndApply } from '@freshet/cli/definitions.ts';
import { parseDefinitions } from '@freshet/definitions/parse.ts';
import { IngestService, SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { ChangeKind, RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import type { Random } from '@freshet/testkit/simulation/random.ts';
import type { MeshUnderTest } from './mesh-under-test.ts';
import { DRAWN_VIEWS, definitionsWith, type View } from './orders.ts';

type Move = 'added' | 'changed' | 'dropped' | 'kept';
export type Anew = 'resync' | 'asked' | 'nothing';

/** Each way of moving once, in the order in which it goes round; which of the two views begins where is drawn. */
const ROUND: readonly Move[] = ['added', 'changed', 'dropped'];
/** Some 60 s, and more where each takes its time. */
const TRIES = 600;
const AGAIN_MS = 100;
const KINDS: Readonly<Partial<Record<ChangeKind, Move>>> = {
  [ChangeKind.ADDED]: 'added',
  [ChangeKind.CHANGED]: 'changed',
  [ChangeKind.DROPPED]: 'dropped',
};

/** A view that comes and goes: which of its meanings is in force, if any. */
interface Drawn {
  readonly meanings: readonly View[];
  /** Where in ROUND its first moves begin. */
  readonly offset: number;
  now: number | undefined;
}

/** Which views are in force beside those that always are. */
export class DrawnViews {
  readonly #random: Random;
  readonly #drawn: readonly Drawn[];
  #turn = 0;

  /** In the first three turns each of the two views is added, changed and dropped; from then on chance decides. */
  constructor(random: Random) {
    this.#random = random;
    const first = random.oneIn(2) ? 0 : 1;
    this.#drawn = DRAWN_VIEWS.map((meanings, i) => {
      const offset = i === first ? 0 : 1;
      return { meanings, offset, now: offset === 0 ? undefined : random.between(0, meanings.length - 1) };
    });
  }

  get inForce(): readonly View[] {
    return this.#drawn.flatMap(({ meanings, now }) => (now === undefined ? [] : (meanings[now] ?? [])));
  }

  /** Draws the next; in words what moves. */
  next(): string {
    const moves = this.#drawn.map((drawn) => {
      const move = this.#moveOf(drawn);
      if (move === 'dropped') drawn.now = undefined;
      else if (move === 'added') drawn.now = this.#random.between(0, drawn.meanings.length - 1);
      else if (move === 'changed') drawn.now = (drawn.now ?? 0) === 0 ? 1 : 0;
      return `${drawn.meanings[0]?.name} ${move}`;
    });
    this.#turn += 1;
    return moves.join(', ');
  }

  #moveOf({ offset, now }: Drawn): Move {
    if (this.#turn < ROUND.length) return ROUND[(this.#turn + offset) % ROUND.length] as Move;
    if (now === undefined) return this.#random.pick(['added', 'added', 'kept'] as const);
    return this.#random.pick(['changed', 'dropped', 'kept'] as const);
  }
}

/** In the first three rounds each once, those that are something next to each other; then as chance will have it. */
export function drawAnew(random: Random): (round: number) => Anew {
  const some: readonly Anew[] = random.oneIn(2) ? ['resync', 'asked'] : ['asked', 'resync'];
  const first: readonly Anew[] = random.oneIn(2) ? ['nothing', ...some] : [...some, 'nothing'];
  return (round) => first[round] ?? random.pick(['resync', 'asked', 'nothing', 'nothing'] as const);
}

function routesOf(definitions: DefinitionSet | undefined): number[] {
  return (definitions?.views ?? []).flatMap(({ route, joins }) => [route, ...joins.map((join) => join.route)]);
}

/** The shop's mesh as people change it. Everything is tried again while processes are down. */
export class OrderChanges {
  readonly #under: MeshUnderTest;
  /** What ingest is started with; the words stay, as they may. */
  readonly #ingestArguments: string[];
  readonly #registry: GrpcClient<typeof RegistryService>;
  readonly #ingest: GrpcClient<typeof IngestService>;
  readonly #log: GrpcClient<typeof LogService>;
  readonly #serve: GrpcClient<typeof ServeService>;
  #words = 0;

  /** `ingestArguments`: what the mesh starts ingest with beside the rest, whenever it does. */
  constructor(under: MeshUnderTest, ingestArguments: string[]) {
    this.#under = under;
    this.#ingestArguments = ingestArguments;
    const { registry, ingest, serve } = under.mesh.addresses;
    this.#registry = createGrpcClient(RegistryService, registry);
    this.#ingest = createGrpcClient(IngestService, ingest);
    this.#log = createGrpcClient(LogService, ingest);
    this.#serve = createGrpcClient(ServeService, serve);
  }

  /** Puts the definitions in force. */
  async apply(extra: readonly View[]): Promise<void> {
    const definitions = parseDefinitions([{ path: 'features.yaml', text: definitionsWith(extra) }]);
    await this.#again('the definitions to be applied', async () => {
      await planAndApply(this.#registry, definitions, { signal: AbortSignal.timeout(30_000) });
      return true;
    });
  }

  /** Has generations begin anew: all that there are, or some. Resolves when they have begun. */
  async beginAnew(how: Anew, random: Random): Promise<void> {
    const before = await this.generations();
    if (how === 'resync') {
      await this.#under.mesh.halt('ingest', random.pick(['SIGKILL', 'SIGTERM'] as const));
      this.#ingestArguments.splice(0, 1, `--resync=default=again-${++this.#words}`);
      await this.#under.mesh.resume('ingest');
    }
    const some = [...before].filter(() => random.oneIn(2));
    const wanted = how === 'resync' || some.length === 0 ? before : new Map(some);
    await this.#again('new generations to begin', async () => {
      const now = how === 'resync' ? await this.#ask(before, () => 0) : await this.#ask(wanted, (above) => above);
      return [...wanted].every(([route, generation]) => (now.get(route) ?? 0) > generation);
    });
  }

  /** The newest generation of each route in force. */
  async generations(): Promise<ReadonlyMap<number, number>> {
    let known: ReadonlyMap<number, number> = new Map();
    await this.#again('the routes to have generations', async () => {
      const { resolved } = await this.#registry.getDefinitions({});
      known = await this.#ask(new Map(routesOf(resolved).map((route) => [route, 0])), () => 0);
      return [...known.values()].every((generation) => generation > 0);
    });
    return known;
  }

  /** Resolves when every route in force is live in its newest generation, and what is in force is served. */
  async untilSettled(): Promise<void> {
    await this.#again('everything to be read and served', async () => {
      const { sources } = await this.#ingest.getIngestStatus({});
      if (sources.length === 0 || sources.some(({ state }) => state !== SourceState.STREAMING)) return false;
      const { resolved } = await this.#registry.getDefinitions({});
      // A route that begins anew, beside those that stream too, is not among them until its rows are in the log.
      const live = new Set(sources.flatMap(({ routes }) => routes));
      if (routesOf(resolved).some((route) => !live.has(route))) return false;
      const serve = await this.#serve.getServeStatus({});
      return serve.pendingGenerations.length === 0 && serve.servingGeneration >= (resolved?.generation ?? 0n);
    });
  }

  /** How often views were added, changed and dropped since the first apply, by the registry's own history. */
  async applied(): Promise<ReadonlyMap<string, number>> {
    const { applies } = await this.#registry.listApplies({ limit: 1_000 });
    const counts = new Map<string, number>();
    for (const { kind, subject } of applies.filter(({ number }) => number > 1n).flatMap(({ changes }) => changes)) {
      const name = `${subject} ${KINDS[kind]}`;
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return counts;
  }

  async #ask(
    newest: ReadonlyMap<number, number>,
    above: (generation: number) => number,
  ): Promise<ReadonlyMap<number, number>> {
    const { logId } = await this.#log.describeLog({});
    const routes = [...newest].map(([route, generation]) => ({
      route,
      aboveGeneration: above(generation),
      reason: 'a test asks',
    }));
    const answer = await this.#log.requestGenerations({ logId, nodeId: 'test', routes });
    return new Map(answer.routes.map(({ route, generation }) => [route, generation]));
  }

  /** Until it is so; a process that is down, or a plan that somebody overtook, is no reason to give up. */
  async #again(what: string, isSo: () => Promise<boolean>): Promise<void> {
    let last: unknown;
    for (let tries = 0; tries < TRIES; tries++) {
      try {
        if (await isSo()) return;
        last = undefined;
      } catch (error) {
        if (!isFreshetError(error)) throw error;
        last = error;
      }
      await pause(AGAIN_MS);
    }
    throw new Error(`waited in vain for ${what}`, { cause: last });
  }

  close(): void {
    for (const client of [this.#registry, this.#ingest, this.#log, this.#serve]) client.close();
  }
}
