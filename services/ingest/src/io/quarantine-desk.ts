/**
 * What people do about the quarantine: look, release, discard.
 *
 * Owns which source's releases are meant, and the audit lines. Does not own the file (quarantine-file.ts) nor how rows are
 * released (held-releases.ts).
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { AloneRows } from '../core/alone-index.ts';
import { type HeldRoute, isHeldOf } from '../core/held-index.ts';
import type { Mapping } from '../core/hold.ts';
import type { LiveRoute } from '../core/live-route.ts';
import { placeName, type QuarantineEntry } from '../core/quarantine.ts';
import type { AloneOutcome, ReleaseWish } from '../core/release-alone.ts';
import { isMutable } from '../core/route.ts';
import type { HeldReleases, ReleaseProgress } from './held-releases.ts';
import type { QuarantineFile } from './quarantine-file.ts';

const POLL_MS = 200;
const NOTHING: ReadonlySet<string> = new Set();

export interface QuarantineDeskOptions {
  readonly quarantine: QuarantineFile;
  /** Those of every database. */
  readonly releases: () => readonly HeldReleases[];
  /** Asks that a generation above this one of a route begins. */
  readonly readAnew: (route: number, generation: number, why: string) => Promise<unknown>;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface EntryPage {
  readonly entries: readonly QuarantineEntry[];
  /** Empty: there is no other page. */
  readonly next: string;
}

interface Found {
  readonly releases: HeldReleases;
  readonly live: LiveRoute;
}

export class QuarantineDesk {
  readonly #options: QuarantineDeskOptions;

  constructor(options: QuarantineDeskOptions) {
    this.#options = options;
  }

  held(source: string): readonly HeldRoute[] {
    return this.#options.quarantine.held.filter((route) => source === '' || route.source === source);
  }

  alone(source: string): readonly AloneRows[] {
    return this.#options.quarantine.alone.filter((route) => source === '' || route.source === source);
  }

  /** Throws INVALID_REQUEST when the token leads nowhere any more. */
  async list(source: string, token: string, size: number): Promise<EntryPage> {
    const { quarantine } = this.#options;
    const [rewrites = 0, offset = 0] = token === '' ? [quarantine.rewrites, 0] : token.split('.').map(Number);
    if (rewrites !== quarantine.rewrites || !Number.isSafeInteger(offset)) throw rewritten();
    const entries: QuarantineEntry[] = [];
    for await (const { entry, next } of quarantine.entries(offset)) {
      if (source !== '' && entry.source !== source) continue;
      entries.push(entry);
      if (entries.length === size) return { entries, next: `${rewrites}.${next}` };
    }
    if (offset > 0 && rewrites !== quarantine.rewrites) throw rewritten();
    return { entries, next: '' };
  }

  /** Throws INVALID_REQUEST when there is none. */
  async show(id: string): Promise<QuarantineEntry> {
    for await (const { entry } of this.#options.quarantine.entries()) if (placeName(entry) === id) return entry;
    throw noEntry(id);
  }

  /**
   * Releases what is held of a source, and what of it was put aside alone; the latter only when some of it is named by ids or
   * reasons. Tells how far it is until nothing is held, or nothing more may be released. Mutable sources: what was put aside
   * alone is not folded late; with `readAnew` their table is read anew instead.
   */
  async *release(
    source: string,
    { mapping, readAnew = false, ids = NOTHING, reasons = NOTHING, ignoresRules = false }: ReleaseWish,
    signal: AbortSignal,
  ): AsyncGenerator<ReleaseProgress & { readonly alone?: AloneOutcome }> {
    const found = this.#routesOf(source);
    const isSome = ids.size + reasons.size > 0;
    if (isSome && mapping !== undefined) {
      throw new FreshetError('INVALID_REQUEST', 'a mapping is of all that is held of a table, not of single rows', {
        place: 'mappings',
        remedy: 'release without --id and --reason, or without --map',
      });
    }
    for (const { releases, live } of found) releases.alone.ask(live, { ids, reasons, ignoresRules });
    if (!isSome) yield* this.#releaseHeld(source, found, mapping, signal);
    for (const one of found) yield* this.#watchAlone(source, one, readAnew, signal);
  }

  async *#watchAlone(
    source: string,
    { releases, live }: Found,
    readAnew: boolean,
    signal: AbortSignal,
  ): AsyncGenerator<ReleaseProgress & { readonly alone: AloneOutcome }> {
    const { clock, logger } = this.#options;
    const { number, generation } = live.route;
    while (!releases.alone.progress(live).isDone) await clock.sleep(POLL_MS, signal);
    const { released, left, why } = releases.alone.progress(live);
    if (released === 0 && left === 0) return;
    const anew = readAnew && left > 0 && isMutable(live.route);
    if (anew) {
      logger.info('a table is to be read anew, because somebody asked for it', { source, route: number });
      await this.#options.readAnew(number, generation, `rows of source ${source} that were put aside are read anew`);
    }
    yield { ...releases.progress(live), alone: { released, left, why: why?.detail ?? '', readAnew: anew } };
  }

  async *#releaseHeld(
    source: string,
    found: readonly Found[],
    mapping: Omit<Mapping, 'version'> | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<ReleaseProgress> {
    const { clock, logger } = this.#options;
    for (const { releases, live } of found) {
      const { number, contract } = live.route;
      logger.info('a release was asked for', { source, route: number, mapping });
      await releases.ask(number, 'release', mapping && { ...mapping, version: contract.version });
    }
    for (const { releases, live } of found) {
      for (;;) {
        const progress = releases.progress(live);
        yield progress;
        if (progress.isDone || progress.blocked !== undefined) break;
        await clock.sleep(POLL_MS, signal);
      }
    }
  }

  /**
   * Drops what is held of a source, also of one that is not captured any more. Of a mutable one that is, the table is read anew
   * instead, unless it is to be kept as it is.
   */
  async discard(
    source: string,
    keep: boolean,
    signal: AbortSignal,
  ): Promise<{ discarded: number; readAnew: number[] }> {
    const { clock, logger, readAnew } = this.#options;
    const anew: number[] = [];
    let discarded = await this.#discardOver(source);
    const streamed = discarded > 0 ? this.#streamed(source) : this.#routesOf(source);
    for (const { releases, live } of streamed) {
      const { number, generation } = live.route;
      const { held } = releases.progress(live);
      if (held === 0) continue;
      logger.warn('held rows are discarded, because somebody asked for it', {
        source,
        route: number,
        rows: held,
        keep,
      });
      discarded += held;
      if (isMutable(live.route) && !keep) {
        anew.push(number);
        await readAnew(number, generation, `held rows of source ${source} were discarded`);
        continue;
      }
      await releases.ask(number, 'discard');
      while (!releases.progress(live).isDone) await clock.sleep(POLL_MS, signal);
    }
    return { discarded, readAnew: anew };
  }

  /** Drops entries by their ids. */
  async discardEntries(ids: readonly string[]): Promise<number> {
    const { quarantine, logger, releases } = this.#options;
    for (const id of ids) {
      const entry = await this.show(id);
      const isGone = !releases().some((one) => one.has(entry));
      if (entry.releasing !== undefined && !isGone && !releases().some((one) => one.isOver(entry))) {
        throw new FreshetError('UNAVAILABLE', `the row of entry ${id} is being released, and may be in the log`, {
          place: id,
          remedy: 'Nothing: it goes by itself. See freshet status when it does not.',
        });
      }
      const done = releases().some(
        (one) => one.isOver(entry) || (one.routesOf(entry.source).length > 0 && one.acknowledgedLsn > entry.major),
      );
      if (!done && !isGone) {
        throw new FreshetError('UNAVAILABLE', `the row of entry ${id} may still come again`, {
          place: id,
          remedy: 'ask again in a moment, when its commit is acknowledged and its source is streamed',
        });
      }
    }
    const wanted = new Set(ids);
    logger.warn('entries of the quarantine are discarded, because somebody asked for it', { ids });
    return quarantine.remove((entry) => wanted.has(placeName(entry)));
  }

  /** Drops what is held of a source's routes that are over, or whose database is captured here no more: it never comes again. */
  async #discardOver(source: string): Promise<number> {
    const { quarantine, logger, releases } = this.#options;
    const isOver = (held: HeldRoute): boolean =>
      releases().some((one) => one.isOver(held)) || !releases().some((one) => one.has(held));
    let discarded = 0;
    for (const held of quarantine.held) {
      if (held.source !== source || !isOver(held)) continue;
      const { route, generation, count: rows } = held;
      logger.warn('rows that are held of a route that is over are discarded', { source, route, generation, rows });
      discarded += await quarantine.remove(isHeldOf(route, generation));
    }
    return discarded;
  }

  #streamed(source: string): Found[] {
    return this.#options
      .releases()
      .flatMap((releases) => releases.routesOf(source).map((live) => ({ releases, live })));
  }

  #routesOf(source: string): Found[] {
    const found = this.#streamed(source);
    if (found.length > 0) return found;
    throw new FreshetError('INVALID_REQUEST', `no source ${source} is captured here now`, {
      place: 'source',
      remedy: 'see freshet status: a source is captured when its database is streamed',
    });
  }
}

function rewritten(): FreshetError {
  return new FreshetError('INVALID_REQUEST', 'the quarantine was rewritten since the last page', {
    place: 'page_token',
    remedy: 'list from the first page again',
  });
}

function noEntry(id: string): FreshetError {
  return new FreshetError('INVALID_REQUEST', `the quarantine has no entry ${id}`, {
    place: 'id',
    remedy: 'see freshet quarantine list',
  });
}
