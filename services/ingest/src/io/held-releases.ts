/**
 * Releases of held rows, beside the stream that goes on:
 *
 *     lane chosen, saved ──▶ held rows to the log, in order, as that lane ──▶ caught up ──▶ switch ──▶ taken out of the file
 *                                  │ one still may not be read
 *                                  ▼
 *                      what was before it is released; it and what is behind it stay held
 *
 * While rows are released, those that come go to the quarantine behind them. At the switch the stream stands still between two
 * commits for as long as it takes to have everything durable and the state saved: with one save the released rows hold nothing
 * any more, and no commit that has them comes again, as the state begins behind them. From then on rows flow. A crash before
 * the save does the release again, in the same lane, and shards skip what they have (F3); after it, nothing is left to do. All
 * releases of a generation share the lane: held rows are in the order of their commits, so a later one is always behind.
 *
 * Owns that order and the state of releases. Does not own what is held (core/hold.ts: what the file says), what a released row
 * is (core/release.ts), how rows are brought to the log (held-pass.ts), nor what is told of held tables (held-notices.ts).
 * Limit: `PASSES_MAX` routes bring rows at a time; policy: waits; gauge: the pipeline's. A route that waits for its switch brings none, and holds up no other.
 */
import type { Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { ShownShape } from '../core/change-stream.ts';
import { type HeldRoute, isHeldOf } from '../core/held-index.ts';
import { type Mapping, mappingProblem } from '../core/hold.ts';
import type { LiveRoute } from '../core/live-route.ts';
import { laterLsn } from '../core/lsn.ts';
import { comparePlaces, type QuarantineEntry, type RowPlace } from '../core/quarantine.ts';
import { type Blocked, RELEASE_LANE } from '../core/release.ts';
import { advanced, type RouteState, withRoutes } from '../core/source-state.ts';
import { tableName } from '../core/sql.ts';
import { AloneReleases } from './alone-releases.ts';
import { HeldNotices } from './held-notices.ts';
import { HeldPass, type HeldStream, type StoppedAt } from './held-pass.ts';
import type { QuarantineFile } from './quarantine-file.ts';
import { RuleNotices } from './rule-notices.ts';
import type { SourceStore } from './source-store.ts';

const PASSES_MAX = 4;
/** How often it is looked whether something is held, or may go on. */
const LOOK_MS = 500;

export interface HeldReleasesOptions {
  /** The database's name in definitions. */
  readonly name: string;
  readonly quarantine: QuarantineFile;
  readonly store: SourceStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly conditions: ConditionBoard;
  /** Told of each shape that rows came in, and of the commit that had it first. */
  readonly onShape?: ((contract: Contract, lsn: bigint) => void) | undefined;
}

/** How a release stands. */
export interface ReleaseProgress {
  readonly route: number;
  /** Rows that were brought to the log by the newest release of this process. */
  readonly released: number;
  /** Rows that are held. */
  readonly held: number;
  /** Why the first of them may not be released; undefined: it may, or nothing is held. */
  readonly blocked: Blocked | undefined;
  readonly isDone: boolean;
}

export class HeldReleases {
  /** Rows that hold nothing, which are released when somebody asks for it. */
  readonly alone: AloneReleases;
  readonly #options: HeldReleasesOptions;
  #beside: HeldStream | undefined;
  /** Routes of which somebody asked for a release, or a discard. */
  readonly #asked = new Map<number, 'release' | 'discard'>();
  /** By route, what the newest try stopped at: tried again when it is asked for, or under another contract. */
  readonly #blocked = new Map<number, { readonly place: RowPlace; readonly version: number; readonly why: Blocked }>();
  readonly #released = new Map<number, number>();
  readonly #rules: RuleNotices;
  readonly #notices: HeldNotices;
  /** By route, what is to be done while the stream stands still. */
  readonly #turns = new Map<number, () => Promise<void>>();
  /** What is done of it now: settles. */
  #turning: Promise<void> = Promise.resolve();
  #passing = 0;

  constructor(options: HeldReleasesOptions) {
    this.#options = options;
    this.alone = new AloneReleases(options);
    this.#rules = new RuleNotices(options);
    this.#notices = new HeldNotices(options);
  }

  /** No commit before this comes again. */
  get acknowledgedLsn(): bigint {
    return this.#options.store.state.acknowledgedLsn;
  }

  /** Whether a row's database is captured here. */
  has({ table }: Pick<QuarantineEntry, 'table'>): boolean {
    return table.startsWith(`${this.#options.name}/`);
  }

  /** Whether the generation of a row is over, so that no row of it comes again. */
  isOver({ route, generation, table }: Pick<QuarantineEntry, 'route' | 'generation' | 'table'>): boolean {
    if (!this.has({ table })) return false;
    const known = this.#options.store.state.routes.find((state) => state.route === route);
    return known !== undefined && (known.generation > generation || known.phase === 'ended');
  }

  /** The routes that are streamed of a source; none when it is not streamed now. */
  routesOf(source: string): readonly LiveRoute[] {
    return this.#routes.filter(({ route }) => route.source === source);
  }

  /** Whether rows are held of a route that do not tell which row they are about. */
  isUntold(route: number): boolean {
    const { generation = 0 } = this.#stateOf(route);
    const blocked = this.#blocked.get(route);
    // Of a generation before, it is over with that.
    if (blocked?.place.generation === generation && blocked.why.reason === 'identity') return true;
    return this.#options.quarantine.heldOf(route, generation)?.reason === 'identity';
  }

  /** Waited for by the stream before it reads more; undefined: nothing. */
  gate(): Promise<void> | undefined {
    const beside = this.#beside;
    if (this.#turns.size === 0 || beside === undefined || beside.stream.inTransaction) return undefined;
    if (beside.holdAt() !== undefined) return undefined;
    const turns = [...this.#turns.values()];
    this.#turns.clear();
    const turning = (async () => {
      for (const turn of turns) await turn();
    })();
    this.#turning = turning.catch(() => undefined);
    return turning;
  }

  /**
   * Asks that what is held of a route is released, under a mapping if one is given, or discarded. Throws INVALID_REQUEST when
   * the mapping gives a column that the first held row has by itself.
   */
  async ask(route: number, what: 'release' | 'discard', mapping?: Mapping): Promise<void> {
    if (mapping !== undefined) {
      await this.#checkMapping(route, mapping);
      await this.#change(route, () => ({ mapping }));
      this.#beside?.stream.remap(route, mapping);
    }
    this.#blocked.delete(route);
    this.#released.set(route, 0);
    this.#asked.set(route, what);
  }

  async #checkMapping(route: number, mapping: Mapping): Promise<void> {
    const { quarantine } = this.#options;
    const held = quarantine.heldOf(route, this.#stateOf(route).generation ?? 0);
    let columns: readonly string[] = [];
    if (held !== undefined) {
      for await (const { entry } of quarantine.entries(held.offset)) {
        columns = entry.shape?.columns.map(([name]) => name) ?? [];
        break;
      }
    }
    const problem = mappingProblem(columns, mapping);
    if (problem === undefined) return;
    throw new FreshetError('INVALID_REQUEST', problem, {
      place: 'mappings',
      remedy:
        'map each column of the contract to another one of the table, and that of the same name as well: --map a=b --map b=a',
    });
  }

  /** How the newest release of a route stands. */
  progress(live: LiveRoute): ReleaseProgress {
    const { number: route, generation } = live.route;
    const held = this.#options.quarantine.heldOf(route, generation);
    const blocked = held === undefined ? undefined : this.#blocked.get(route)?.why;
    const isHeld = this.#beside?.stream.holdOf(route) !== undefined || this.#asked.has(route);
    return { route, released: this.#released.get(route) ?? 0, held: held?.count ?? 0, blocked, isDone: !isHeld };
  }

  /** Works beside a stream until the signal. Throws faults of ours, and what the log failed with. */
  async run(beside: HeldStream, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    this.#beside = beside;
    const failed = new AbortController();
    const until = AbortSignal.any([signal, failed.signal]);
    /** By route: one that waits, for a build or for room, holds up no other. */
    const looks = new Map<string, Promise<void>>();
    const begin = (name: string, work: () => Promise<void>): void => {
      if (looks.has(name)) return;
      const look = work()
        .catch((error: unknown) => failed.abort(error))
        .finally(() => looks.delete(name));
      looks.set(name, look);
    };
    try {
      while (!until.aborted) {
        for (const live of beside.stream.routes) {
          const { number } = live.route;
          begin(`held/${number}`, () => this.#look(live, beside, until));
          begin(`alone/${number}`, () => this.alone.look(live, beside, until));
        }
        this.#notices.forgetUnstreamed(beside.stream.routes);
        this.#notices.tellFull(this.#options.quarantine.isFull && beside.holdAt() !== undefined);
        this.#rules.settle();
        for (const shape of beside.stream.takeShown()) this.#show(shape);
        await clock.sleep(LOOK_MS, until).catch(() => undefined);
      }
      if (!signal.aborted) throw failed.signal.reason;
    } finally {
      failed.abort(new DOMException('the stream ended', 'AbortError'));
      await Promise.all(looks.values());
      // One that was about to save a route's state does: whoever waits for us to stand still changes what it is about.
      await this.#turning;
      this.#notices.tellFull(false);
      this.#beside = undefined;
      this.#turns.clear();
    }
  }

  get #routes(): readonly LiveRoute[] {
    return this.#beside?.stream.routes ?? [];
  }

  async #look(live: LiveRoute, beside: HeldStream, signal: AbortSignal): Promise<void> {
    const { quarantine } = this.#options;
    const { number: route, generation } = live.route;
    for (const old of quarantine.held) {
      if (old.route === route && old.generation < generation) await this.#supersede(old, live);
      else if (this.#isTakenOver(old, live)) await this.#supersede(old, live);
    }
    const held = quarantine.heldOf(route, generation);
    this.#notices.tell(live.route, held, this.#blocked.get(live.route.number)?.why);
    this.#rules.tell(live.route);
    if (held === undefined) {
      if (beside.stream.holdOf(route) === undefined) this.#asked.delete(route);
      else this.#turns.set(route, () => this.#free(live, beside, signal));
      return;
    }
    if (!this.#isDue(live, held)) return;
    try {
      await this.#release(live, held, beside, signal);
    } catch (error) {
      // A full disk, a damaged line: told, and tried again.
      if (signal.aborted || !isFreshetError(error, 'DISK_FULL', 'DATA_DAMAGED')) throw error;
      this.#options.conditions.raise(`source/${this.#options.name}/release`, error);
      return;
    }
    this.#options.conditions.clear(`source/${this.#options.name}/release`);
  }

  /** Rows flow when nothing is held any more: every row that was held was dropped, or erased. Else they are on their way. */
  async #free({ route }: LiveRoute, { stream, pipeline }: HeldStream, signal: AbortSignal): Promise<void> {
    await pipeline.drained(signal);
    if (this.#options.quarantine.heldOf(route.number, route.generation) === undefined) stream.letFlow(route.number);
  }

  /** When it was asked for, was under way, or another contract was accepted than the first row broke. */
  #isDue({ route }: LiveRoute, held: HeldRoute): boolean {
    if (this.#asked.has(route.number) || this.#stateOf(route.number).releasing === true) return true;
    const { version } = route.contract;
    const blocked = this.#blocked.get(route.number);
    if (blocked?.version === version && comparePlaces(blocked.place, held.first) >= 0) return false;
    return version > held.contractVersion;
  }

  async #release(live: LiveRoute, held: HeldRoute, beside: HeldStream, signal: AbortSignal): Promise<void> {
    const { quarantine, logger } = this.#options;
    const { number: route } = live.route;
    const state = this.#stateOf(route);
    // One for all releases: a row that one of them brought, and that had to stay in the file, is a repetition for the next.
    const lane = state.releaseLane ?? RELEASE_LANE;
    const discards = this.#asked.get(route) === 'discard';
    // A discard that is cut short is asked for again: it must not go on as a release.
    await this.#change(route, () => (discards ? { releasing: false } : { releaseLane: lane, releasing: true }));
    const { released } = state;
    // What was released, and could not be taken out of the file, is not brought again.
    const place = released && { ...held.first, major: BigInt(released.major), minor: released.minor };
    const onRow = (count: number): void => void this.#released.set(route, count);
    const { store, clock } = this.#options;
    const pass = new HeldPass({
      quarantine,
      store,
      clock,
      beside,
      live,
      lane,
      discards,
      place,
      offset: held.offset,
      onRow,
    });
    logger.info('releasing held rows', { route, lane, rows: held.count });
    for (;;) {
      const blocked = await this.#passBeside(pass, signal);
      if (blocked !== undefined) {
        await this.#stop(pass, blocked, signal);
        return;
      }
      // With room for more than what is held: else what comes could wait for room that the switch would make.
      if (quarantine.isHalfFull) await this.#settle(pass, signal);
      // Nobody hears of an end that has been.
      signal.throwIfAborted();
      const { promise, resolve, reject } = Promise.withResolvers<'switched' | 'later' | StoppedAt>();
      this.#turns.set(route, () => this.#turn(pass, signal).then(resolve, reject));
      const ended = (): void => reject(signal.reason);
      signal.addEventListener('abort', ended, { once: true });
      try {
        const how = await promise;
        if (typeof how === 'object') {
          await this.#stop(pass, how, signal);
          return;
        }
        if (how === 'switched') break;
      } finally {
        signal.removeEventListener('abort', ended);
      }
      await this.#options.clock.sleep(LOOK_MS, signal);
    }
    if (pass.place !== undefined) await quarantine.remove(isHeldOf(route, live.route.generation, pass.place));
    this.#asked.delete(route);
    this.#notices.tell(live.route, undefined, undefined);
    logger.info('held rows were released, and the table flows', { route, lane, rows: pass.count });
  }

  /** The stream stands still: what is left goes to the log, all is made durable and saved, and rows flow. */
  async #turn(pass: HeldPass, signal: AbortSignal): Promise<'switched' | 'later' | StoppedAt> {
    const { store } = this.#options;
    const { stream, pipeline } = pass.beside;
    const { number: route } = pass.live.route;
    await pipeline.drained(signal);
    const blocked = await pass.goOn(signal, stream.endLsn);
    await pipeline.drained(signal);
    if (blocked !== undefined) return blocked;
    // Told to stand still while nothing had to be waited for: what is saved below may be of another generation by now.
    signal.throwIfAborted();
    // What was sent again since the connection was made has not come as far as what the file kept behind a loss.
    if (pass.isEarly) return 'later';
    const { place } = pass;
    // Whatever was held was erased since it was looked at.
    const released = place === undefined ? {} : { released: releasedPlace(place) };
    // What was sent again since the connection was made may not have come this far.
    const reached = laterLsn(store.state.acknowledgedLsn, stream.endLsn);
    if (place !== undefined && reached <= place.major) return 'later';
    await store.update((state) =>
      this.#with(advanced(state, reached, stream), route, { ...released, releasing: false }),
    );
    stream.letFlow(route);
    return 'switched';
  }

  /** Goes on while the stream goes on; so many at a time. */
  async #passBeside(pass: HeldPass, signal: AbortSignal): Promise<StoppedAt | undefined> {
    while (this.#passing >= PASSES_MAX) await this.#options.clock.sleep(LOOK_MS, signal);
    this.#passing += 1;
    try {
      return await pass.goOn(signal);
    } finally {
      this.#passing -= 1;
    }
  }

  /** What was released before a row that may not be is done with; the row, and what is behind it, stay. */
  async #stop(pass: HeldPass, at: StoppedAt, signal: AbortSignal): Promise<void> {
    const { logger } = this.#options;
    const { live } = pass;
    const { number: route } = live.route;
    await this.#settle(pass, signal);
    await this.#change(route, () => ({ releasing: false }));
    const { reason, detail } = at;
    this.#blocked.set(route, { place: at.place, version: live.route.contract.version, why: { reason, detail } });
    this.#asked.delete(route);
    logger.warn('a held row may still not be read; it and those behind it stay', { route, reason, detail });
  }

  /** What was released so far is done with, and taken out of the file. */
  async #settle(pass: HeldPass, signal: AbortSignal): Promise<void> {
    const { quarantine, store, clock } = this.#options;
    const { live, place } = pass;
    if (place === undefined) return;
    const { number: route, generation } = live.route;
    await pass.durable(signal);
    // Until no commit of theirs can come again: nothing would tell then that they were held. In a file that is full, the
    // commit of the newest may wait for the room that the others make.
    while (store.state.acknowledgedLsn <= place.major && !quarantine.isHalfFull) await clock.sleep(LOOK_MS, signal);
    const { acknowledgedLsn } = store.state;
    const settled =
      acknowledgedLsn > place.major ? place : { major: acknowledgedLsn - 1n, minor: Number.MAX_SAFE_INTEGER };
    await this.#change(route, () => ({ released: releasedPlace(settled) }));
    await quarantine.remove(isHeldOf(route, generation, settled));
  }

  /**
   * Whether rows are held of a route that is over, and this one reads its table. Should the first come back it begins anew, so
   * nobody can fold them any more; this one has them from its snapshot or its stream.
   */
  #isTakenOver({ route, source, table }: HeldRoute, { route: live }: LiveRoute): boolean {
    if (route === live.number || source !== live.source) return false;
    const { database, schema, table: name } = live.table;
    return this.#stateOf(route).phase === 'ended' && table === `${database}/${tableName(schema, name)}`;
  }

  /** Rows that were held of a life that is over, while another has the table: its snapshot has what became of them. */
  async #supersede(old: HeldRoute, { route: live }: LiveRoute): Promise<void> {
    const { quarantine, logger } = this.#options;
    const { route, generation: was, table } = old;
    const rows = await quarantine.remove(isHeldOf(route, was));
    this.#blocked.delete(route);
    this.#asked.delete(route);
    const { number: by, generation } = live;
    logger.warn('held rows were superseded: the table was read anew', { route, was, table, rows, by, generation });
  }

  #show({ route, contract, lsn, notes }: ShownShape): void {
    const { logger, onShape } = this.#options;
    if (notes.length > 0) logger.warn('the shape of a table changed, and its rows pass', { route, lsn, notes });
    onShape?.(contract, lsn);
  }

  #stateOf(route: number): Partial<RouteState> {
    return this.#options.store.state.routes.find((state) => state.route === route) ?? {};
  }

  #change(route: number, change: () => Partial<RouteState>): Promise<void> {
    return this.#options.store.update((state) => this.#with(state, route, change()));
  }

  #with(state: SourceStore['state'], route: number, change: Partial<RouteState>): SourceStore['state'] {
    const known = state.routes.find((one) => one.route === route);
    return known === undefined ? state : withRoutes(state, [{ ...known, ...change }]);
  }
}

function releasedPlace({ major, minor }: Pick<RowPlace, 'major' | 'minor'>): RouteState['released'] {
  return { major: major.toString(), minor };
}
