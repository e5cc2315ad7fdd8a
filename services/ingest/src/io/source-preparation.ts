/**
 * Brings a database to where its stream can start, from any point that it was left at: judges it, meets a lost history, ends
 * routes that cannot go on, makes the publications and the slot, and takes the first snapshots.
 *
 *     preflight ──▶ history ──▶ routes settled, saved ──▶ published ──▶ nextStep: create_slot ⟲ stage ⟲ append ⟲ stream
 *
 * Routes whose table is not ready wait (core/readiness.ts), and the others go on; only where nothing is captured yet, and
 * nothing can be, is that thrown.
 *
 * Owns that order: what is ended is saved before the publications, which are the evidence, are mended. What to do next is
 * core/source-state.ts; each doing has its own file. Does not own trying again (postgres-source.ts).
 */
import { SourceState as SourcePhase } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { type LostHistory, lostHistory } from '../core/lost-history.ts';
import { allWaiting, endedByFindings, type Readiness, readiness } from '../core/readiness.ts';
import { settleRoutes } from '../core/settle-routes.ts';
import type { DatabaseSession, TableToStage } from '../core/source-database.ts';
import {
  generationOf,
  nextStep,
  type PublishedTables,
  type RouteState,
  type SourceState,
  type WorldFacts,
  withRoutes,
} from '../core/source-state.ts';
import { lostByRetelling } from './retold.ts';
import { type Stage, stageFacts } from './snapshot-stage.ts';
import { claimed } from './source-claimer.ts';
import type { SourceParts, Wanted } from './source-parts.ts';
import { type Preflight, preflight, publish } from './source-preflight.ts';

/** What a stream begins with: the routes that are live, and what those are built of that are not. */
export interface Prepared {
  readonly routes: readonly RouteState[];
  /** The routes that can be captured now. */
  readonly ready: readonly RoutePlan[];
  readonly tables: readonly TableToStage[];
  readonly published: PublishedTables;
}

export class SourcePreparation {
  readonly #parts: SourceParts;
  readonly #onClockAgreed: () => void;
  /** What was seen to be lost at the last look; done about only when it is so again. */
  #suspected: LostHistory['kind'] | undefined;
  /** Whether that loss was counted. */
  #isCounted = false;

  constructor(parts: SourceParts, onClockAgreed: () => void) {
    this.#parts = parts;
    this.#onClockAgreed = onClockAgreed;
  }

  /** Resolves when the stream can start; undefined: there is nothing to stream. Throws what somebody must mend. */
  async prepare(wanted: Wanted, session: DatabaseSession, signal: AbortSignal): Promise<Prepared | undefined> {
    const { options, store, stages, snapshots, board, pace } = this.#parts;
    const { database, slotName, clock, logger } = options;
    await store.resync(session);
    const { examined, tables, noSlot } = await this.#examine(wanted, session);
    for (;;) {
      const { endLsn, ...identity } = await database.identify(signal);
      const staged = await stages.load();
      const server = await session.server();
      const slot = await session.slot(slotName);
      await options.claim?.(claimed(identity.systemId, server.database, store.state, slot), signal);
      const world: WorldFacts = {
        ...identity,
        endLsn,
        database: server.database,
        slotName,
        slot,
        stages: stageFacts(staged),
      };
      const lost =
        lostHistory(store.state, world) ?? (await lostByRetelling(database, store, world, { clock, signal }));
      if (lost !== undefined) {
        await this.#meetLoss(lost, slot !== undefined, session);
        continue;
      }
      this.#suspected = undefined;
      const settled = this.#settle(wanted, await session.published(slotName));
      const found = readiness(examined, settled, (route) => pace.waits(route, clock.monotonicUs()) ?? noSlot);
      const unready = found.ready.length === 0 && settled.slot !== 'made' ? allWaiting(found) : undefined;
      // Refuses a slot that is not ours before anything is changed.
      const first = nextStep(settled, world, found.ready);
      // States of before timelines were kept learn theirs, now that everything else is as it was.
      await store.save(settled.slot === 'made' && settled.timeline === 0 ? { ...settled, ...identity } : settled);
      board.wait(unready === undefined ? found.waiting : new Map());
      if (unready !== undefined) throw unready;
      if (first.kind === 'idle') return undefined;
      const { published, refused } = await publish({ wanted: found.ready, tables, slotName, session });
      const ready = this.#admit(found, refused);
      const step = refused.size === 0 ? first : nextStep(store.state, world, ready);
      switch (step.kind) {
        case 'create_slot':
          await store.save({ ...store.state, slot: 'creating', ...identity });
          if (slot === undefined) await database.createSlot(slotName, signal);
          await this.#adopt(session);
          break;
        case 'stage':
          board.enter(SourcePhase.SNAPSHOT);
          await store.staged(await snapshots.take(step.routes, tables, published, signal));
          break;
        case 'append':
          board.enter(SourcePhase.SNAPSHOT);
          await this.#append(must(staged.get(step.stage)), step.routes, wanted, signal);
          break;
        case 'stream':
          logger.debug('prepared', { routes: step.routes.length });
          return { routes: step.routes, ready, tables, published };
      }
    }
  }

  /** Looks at the tables. Routes that end for what was found are ended, whatever else is found. */
  async #examine({ routes: wanted }: Wanted, session: DatabaseSession): Promise<Preflight> {
    const { options, store } = this.#parts;
    const { clock, logger } = options;
    const onClockAgreed = this.#onClockAgreed;
    const found = await preflight({ wanted, state: store.state, session, clock, logger, onClockAgreed });
    await store.end(endedByFindings(found.examined, store.state));
    return found;
  }

  /** The routes that are ready but for those whose table may not be published, which wait. */
  #admit(found: Readiness, refused: ReadonlyMap<number, FreshetError>): readonly RoutePlan[] {
    const { store, board } = this.#parts;
    const ready = found.ready.filter(({ route }) => !refused.has(route));
    const waiting = new Map([...found.waiting, ...refused]);
    const unready = ready.length === 0 && store.state.slot !== 'made' ? allWaiting({ ready, waiting }) : undefined;
    board.wait(unready === undefined ? waiting : new Map());
    if (unready !== undefined) throw unready;
    return ready;
  }

  async #adopt(session: DatabaseSession): Promise<void> {
    const { options, store } = this.#parts;
    const slot = await session.slot(options.slotName);
    // Somebody else drops slots too: after a failover, or with an idle slot's limit of the server.
    if (slot === undefined) {
      throw new FreshetError(
        'SLOT_LOST',
        `the replication slot ${options.slotName} was dropped as soon as it was made`,
        {
          remedy: 'Nothing: it is made again in a moment. If that goes on, find out who drops replication slots.',
          place: options.database.place,
        },
      );
    }
    const landmark = { endLsn: 0n, atUs: 0, untilLsn: slot.confirmedLsn };
    await store.save({ ...store.state, slot: 'made', acknowledgedLsn: slot.confirmedLsn, landmark });
  }

  /** The state once routes that cannot go on are ended. */
  #settle({ routes: wanted, definitions }: Wanted, published: PublishedTables): SourceState {
    const { options, store, pace } = this.#parts;
    const { clock, logger, requests } = options;
    const { state, ended } = settleRoutes({
      state: store.state,
      wanted,
      definitions,
      published,
      asked: (route) => requests?.of(route)?.above,
      nowUs: clock.nowUs(),
    });
    const nowUs = clock.monotonicUs();
    for (const { route, why, mayRecur } of ended) {
      logger.warn('a route begins anew', { route, why });
      if (mayRecur) pace.lost(route, why, { nowUs, generation: generationOf(store.state, route) });
    }
    return state;
  }

  /** Starts over when the loss is seen a second time, and may be met so. Else throws what is lost. */
  async #meetLoss(
    { kind, error, rebuildable }: LostHistory,
    hasSlot: boolean,
    session: DatabaseSession,
  ): Promise<void> {
    const { options, store, pace } = this.#parts;
    if (options.onLostHistory === 'halt' || !rebuildable) throw error;
    if (this.#suspected !== kind) {
      this.#suspected = kind;
      this.#isCounted = false;
      const remedy = 'Nothing: if it is so when it is looked up again, in a moment, everything is read anew.';
      throw new FreshetError('SLOT_LOST', error.message, { remedy, place: error.place });
    }
    const nowUs = options.clock.monotonicUs();
    if (!this.#isCounted) pace.lost('history', error.message, { nowUs });
    this.#isCounted = true;
    const later = pace.waits('history', nowUs);
    if (later !== undefined) throw later;
    this.#suspected = undefined;
    await store.rebuild(error.message, hasSlot ? session : undefined);
  }

  async #append(stage: Stage, states: readonly RouteState[], wanted: Wanted, signal: AbortSignal): Promise<void> {
    const { store, snapshots, board } = this.#parts;
    const live = await snapshots.append(stage, states, wanted.routes, wanted.definitions, signal);
    if (live instanceof FreshetError) {
      board.note('stage', live);
      return;
    }
    await store.save(withRoutes(store.state, live));
    board.note('stage', undefined);
  }
}
