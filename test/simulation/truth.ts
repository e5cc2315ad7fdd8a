/**
 * What is right, known to nobody in the simulation: the log as it became durable, folded one record at a time by a fold
 * that never crashes, never commits and never evicts.
 *
 * Owns what a row of a version must be, which versions a key went through and when, and what a replica that says it is
 * complete must have. Its fold is the engine's own: that the engine is right is the oracle's business
 * (packages/testkit/src/oracle); here the question is whether all copies agree with it whatever happens to them.
 */
import { type FoldEntry, ShardFold } from '@freshet/engine/shard-fold.ts';
import { toLatin1 } from '@freshet/replica/latin1.ts';
import { type RowKey, rowKeyOfText } from '@freshet/replica/row-key.ts';
import { disturbed, rowsBefore } from './definition-check.ts';

/** A row at the moment at which it came to be. */
export interface Moment {
  readonly version: number;
  readonly logTimeUs: number;
  /** The encoded row, a character per byte. */
  readonly bytes: string;
  /** The newest of the view's lives in which the key had it. */
  life: number;
}

export interface KeyTruth {
  /** The key as a replica has it. */
  readonly rowKey: RowKey;
  /** By version, ascending; at least one. */
  readonly moments: Moment[];
}

export interface ViewTruth {
  /**
   * The positions from which on the view was complete without a break, one for each of its lives: one that begins anew
   * has none of the rows of the one before.
   */
  readonly livesFrom: number[];
  readonly keys: Map<string, KeyTruth>;
}

const READINGS_MAX = 2;

export class PartitionTruth {
  readonly #fold = new ShardFold({ cold: { load: () => undefined }, cacheBytes: Number.MAX_SAFE_INTEGER });
  readonly entries: FoldEntry[] = [];
  readonly views = new Map<string, ViewTruth>();

  get end(): number {
    return this.entries.length;
  }

  get logTimeUs(): number {
    return this.entries.at(-1)?.logTimeUs ?? 0;
  }

  /** Takes the next record, or checks that one that is known is what it was. Returns what is wrong. */
  take(entry: FoldEntry): string | undefined {
    const known = this.entries[entry.offset];
    if (known !== undefined) {
      const isSame = known.crc === entry.crc && known.logTimeUs === entry.logTimeUs;
      return isSame ? undefined : `L1: record ${entry.offset} was another one before`;
    }
    if (entry.offset !== this.end) return `L1: record ${entry.offset} follows ${this.end - 1}`;
    if (entry.logTimeUs < this.logTimeUs) return `L1: log time goes back at ${entry.offset}`;
    const kept = { ...entry, record: Uint8Array.from(entry.record) };
    this.entries.push(kept);
    return this.#advance(kept);
  }

  /** How many rows found nothing in a joined table. */
  get joinMisses(): number {
    return this.#fold.stats().joinMisses;
  }

  /** The newest generation of a route that has begun; 0: none. */
  routeGeneration(route: number): number {
    return this.#fold.routeGeneration(route);
  }

  /** The views in force that have rows now. */
  complete(): readonly string[] {
    return this.#fold.completeViews();
  }

  /** The row of a version; undefined when the key never had that version. */
  row(viewId: string, key: string, version: number): Moment | undefined {
    const moments = this.views.get(viewId)?.keys.get(key)?.moments ?? [];
    let low = 0;
    let high = moments.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const moment = moments[middle] as Moment;
      if (moment.version === version) return moment;
      if (moment.version < version) low = middle + 1;
      else high = middle - 1;
    }
    return undefined;
  }

  /** The newest row of a key before a version, if the view as it is now has it. */
  standingBefore(viewId: string, key: string, version: number): Moment | undefined {
    const view = this.views.get(viewId);
    const before = view?.keys.get(key)?.moments.findLast((moment) => moment.version < version);
    return before?.life === (view?.livesFrom.length ?? 0) - 1 ? before : undefined;
  }

  /** The view's life at a position; -1 before the first. */
  lifeAt(viewId: string, position: number): number {
    return this.views.get(viewId)?.livesFrom.findLastIndex((from) => from <= position) ?? -1;
  }

  /** The records before a log time. */
  positionBefore(logTimeUs: number): number {
    let low = 0;
    let high = this.entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.entries[middle] as FoldEntry).logTimeUs < logTimeUs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #advance(entry: FoldEntry): string | undefined {
    const rows = rowsBefore(this.#fold, entry.record);
    const before = new Map(this.#fold.completeViews().map((id) => [id, this.#fold.completeAt(id)]));
    this.#fold.fold([entry]);
    let wrong = rows === undefined ? undefined : disturbed(this.#fold, rows);
    this.#build();
    for (const viewId of this.#fold.completeViews()) {
      const at = this.#fold.completeAt(viewId);
      if (before.get(viewId) === at) continue;
      this.#view(viewId).livesFrom.push(at ?? 0);
      for (const key of this.#fold.keys(viewId)) wrong ??= this.#note(viewId, key, entry.logTimeUs);
    }
    for (const [viewId, keys] of this.#fold.takeDirty()) {
      for (const key of keys) wrong ??= this.#note(viewId, key, entry.logTimeUs);
    }
    return wrong;
  }

  /** Reads the log for the views that are being built. One that joins may read it twice, the rows once it knows the tables. */
  #build(): void {
    for (let readings = 0; readings < READINGS_MAX; readings++) {
      const builds = this.#fold.builds();
      if (builds.length === 0) return;
      for (const { viewId, position } of builds) this.#fold.foldBuild(viewId, this.entries.slice(position));
    }
  }

  /** Notes the key's row. Returns what is wrong: a version of an earlier life that was another row. */
  #note(viewId: string, key: string, logTimeUs: number): string | undefined {
    const row = this.#fold.row(viewId, key);
    if (row === undefined) return undefined;
    const { keys, livesFrom } = this.#view(viewId);
    const life = livesFrom.length - 1;
    let known = keys.get(key);
    if (known === undefined) {
      known = { rowKey: rowKeyOfText(key), moments: [] };
      keys.set(key, known);
    }
    const { moments } = known;
    const newest = moments.at(-1);
    const bytes = toLatin1(row.bytes);
    if (newest !== undefined && newest.version >= row.version) {
      newest.life = life;
      const before = this.row(viewId, key, row.version);
      if (before === undefined || before.bytes === bytes) return undefined;
      return `R1: a row of view ${viewId} had version ${row.version} already, with other bytes`;
    }
    // A build makes rows of records that are long past: their log time is theirs, not this record's.
    const at = this.entries[row.version]?.logTimeUs ?? logTimeUs;
    moments.push({ version: row.version, logTimeUs: at, bytes, life });
    return undefined;
  }

  #view(viewId: string): ViewTruth {
    let view = this.views.get(viewId);
    if (view === undefined) {
      view = { livesFrom: [], keys: new Map() };
      this.views.set(viewId, view);
    }
    return view;
  }
}
