/**
 * What stands between the description of a table in the stream and the rows behind it: whether the table's values were computed
 * anew (fill-look.ts). The stream describes a table again before its first row after any DDL, and shows nothing of a USING that
 * leaves the type as it was; so the catalog is asked at that moment, before any of these rows is taken.
 *
 *     read ──▶ relation ──▶ catalog, twice a read at most ──▶ saved ──▶ the stream knows ──▶ rows
 *
 * The catalog tells of now, and not of the row's place: what it finds may be of an ALTER TABLE that comes later, and rows of
 * before are then held as well, in their order. It is never too late: an ALTER TABLE of another transaction is over before a row can
 * come behind it, and one of the row's own is waited for until others see it, which the stream does not wait for.
 *
 * Owns that order. Not how the stream is read (core/replication.ts), nor the question, which waits for no lock of a table
 * (table-fills.ts).
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { ChangeStream } from '../core/change-stream.ts';
import type { Relation } from '../core/pgoutput/messages.ts';
import type { DescribedBy } from '../core/replication.ts';
import type { DatabaseSession, SourceDatabase } from '../core/source-database.ts';
import type { TableFill } from '../core/table-fill.ts';
import { lookAtFills } from './fill-look.ts';
import { keepsRelation } from './kept-contract.ts';
import type { Wanted } from './source-parts.ts';
import type { SourceStore } from './source-store.ts';

/** A commit that is told is seen in a moment, unless it waits for a synchronous standby: so long, and so often. */
const SEEN_MS_MAX = 30_000;
const POLL_MS = 20;
/** So often another look may be faster; each that is has found something. */
const TRIES_MAX = 5;

export interface FillGateOptions {
  readonly database: Pick<SourceDatabase, 'look' | 'place'>;
  readonly store: Pick<SourceStore, 'state' | 'update'>;
  readonly stream: Pick<ChangeStream, 'routes' | 'noteValues'>;
  readonly wanted: () => Pick<Wanted, 'routes' | 'definitions'>;
  /** Told that a route is to begin anew. */
  readonly onAnew: () => void;
  readonly clock: Pick<Clock, 'nowUs' | 'monotonicUs' | 'sleep'>;
  readonly signal: AbortSignal;
}

interface Known {
  readonly read: number;
  readonly isSeen: (xid: number) => boolean;
  readonly asked: ReadonlySet<number>;
  readonly fills: ReadonlyMap<number, TableFill>;
}

export class FillGate {
  readonly #options: FillGateOptions;
  /** What was found for the newest read, of the tables that were asked about. */
  #known: Known | undefined;

  constructor(options: FillGateOptions) {
    this.#options = options;
  }

  /**
   * To be waited for before rows behind a description are taken; undefined: no route takes them. Throws why the catalog cannot be
   * asked, or what it says cannot be saved.
   */
  described(relation: Relation, by: DescribedBy): Promise<void> | undefined {
    const isCaptured = this.#options.stream.routes.some(({ tableOid }) => tableOid === relation.id);
    return isCaptured ? this.#look(relation, by) : undefined;
  }

  async #look(relation: Relation, by: DescribedBy): Promise<void> {
    const { database, store, stream, wanted, onAnew, clock } = this.#options;
    const { routes, definitions } = wanted();
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const fill = await this.#fill(relation.id, by);
      // It is gone: rows that it had are judged as it was described.
      if (fill === undefined) return;
      const fills = new Map([[relation.id, fill]]);
      const keeps: (plan: Wanted['routes'][number]) => Promise<boolean> = (plan) =>
        Promise.resolve(keepsRelation(plan, definitions, relation));
      try {
        const look = { fills, keeps, store, stream, nowUs: clock.nowUs(), mustSave: true };
        if (await lookAtFills({ routes }, look)) return;
      } catch (error) {
        if (!isFreshetError(error, 'SOURCE_NOT_READY')) throw error;
        onAnew();
        return;
      }
      this.#known = undefined;
    }
    throw new FreshetError('SOURCE_UNREACHABLE', 'its tables are rewritten faster than they are looked at', {
      place: database.place,
    });
  }

  /** One table's alone, or those of all when a read describes a second one: a start may describe them all. */
  async #fill(oid: number, { read, xid }: DescribedBy): Promise<TableFill | undefined> {
    const { database, stream, signal } = this.#options;
    const known = this.#known?.read === read ? this.#known : undefined;
    if (known?.asked.has(oid) && known.isSeen(xid)) return known.fills.get(oid);
    const asked = new Set(known === undefined ? [oid] : stream.routes.map(({ tableOid }) => tableOid));
    return database.look(signal, async (session) => {
      const isSeen = await this.#seen(session, xid);
      const fills = await session.fills([...asked]);
      this.#known = { read, isSeen, asked, fills };
      return fills.get(oid);
    });
  }

  /** Resolves when others see the transaction: what it did to the table, too. */
  async #seen(session: Pick<DatabaseSession, 'seen'>, xid: number): Promise<Known['isSeen']> {
    const { clock, database, signal } = this.#options;
    const untilUs = clock.monotonicUs() + SEEN_MS_MAX * 1000;
    for (;;) {
      const isSeen = await session.seen();
      if (isSeen(xid)) return isSeen;
      if (clock.monotonicUs() >= untilUs)
        throw new FreshetError('SOURCE_UNREACHABLE', `transaction ${xid} is in the log, and is not seen by others`, {
          remedy: 'It is read again. If it recurs, look whether commits wait for a synchronous standby.',
          place: database.place,
        });
      await clock.sleep(POLL_MS, signal);
    }
  }
}
