/**
 * Whether what a replica would answer now is right, by the truth: R1 (all it says it is complete through is there,
 * equal bytes at equal versions), R2 (no version goes back while its process lives).
 *
 * A row that says nothing any more may be gone: it is no row, for whoever looks here too.
 *
 * Looks at what can be read, as a reader finds it (the catalogue's tables), and at nothing else of the replica.
 */
import { isDeadRow, unseenColumns } from '@freshet/engine/rows/dead-row.ts';
import { decodeRow } from '@freshet/engine/rows/row-codec.ts';
import { rowLayout, valuesAt } from '@freshet/engine/rows/row-reader.ts';
import type { DefinitionSet, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { fromLatin1 } from '@freshet/replica/latin1.ts';
import type { Replica } from '@freshet/replica/replica.ts';
import { type RowKey, rowKeyOfText, rowKeyText } from '@freshet/replica/row-key.ts';
import { NOT_READABLE_US } from '@freshet/replica/view-table.ts';
import { int64KeyString } from '@freshet/values/key.ts';
import { partitionOfKeyString } from '@freshet/values/partition.ts';
import type { History, PartitionHistories } from './histories.ts';
import type { Total } from './shop.ts';
import type { Moment, PartitionTruth } from './truth.ts';

/** What was shown of a row, and found right, when it was looked at last. */
interface Shown {
  readonly version: number;
  readonly bytes: string;
}

export class ReplicaCheck {
  /** What was shown newest of each row, by view, history and shard, while the process lives. */
  readonly #shown = new Map<string, Map<RowKey, Shown>>();
  /** By view, the newest generation of its route that was read. */
  readonly #generations = new Map<string, number>();
  readonly #sights = new Set<string>();
  /** Rows that were dead at a time that has been: they are dead for good. */
  readonly #dead = new WeakSet<Moment>();
  rowsChecked = 0;
  readonly #erasedUpTo: ReadonlyMap<string, number>;

  /**
   * `erasedUpTo`: keys of those who are erased, and the version of their erase; Infinity while it is not known. Who folds the
   * log anew while some of their records are fillers by now has rows of theirs from before that never were; nobody is to read
   * them any more, and in the end there are none (erasures.ts). What came after is like everybody's.
   */
  constructor(erasedUpTo: ReadonlyMap<string, number> = new Map()) {
    this.#erasedUpTo = erasedUpTo;
  }

  /** What was seen since the last call that must be seen sometimes. */
  takeSights(): string[] {
    const sights = [...this.#sights];
    this.#sights.clear();
    return sights;
  }

  /**
   * What is wrong, in words; undefined: nothing. `nowUs`: the furthest that its machine's clock has been: it may
   * have taken away a row that was dead by then.
   */
  check(replica: Replica, histories: readonly PartitionHistories[], nowUs: number): string | undefined {
    const positions = new Map(replica.shards().map((shard) => [shard.shard, shard]));
    for (const view of replica.catalog.views.values()) {
      const readable = view.tables.filter(({ completeThroughUs }) => completeThroughUs !== NOT_READABLE_US);
      const generations = new Set(readable.map(({ generation }) => generation));
      if (generations.size > 1) return `R3: view ${view.name} is read in generations ${[...generations].join(' and ')}`;
      const [generation] = generations;
      if (generation !== undefined) this.#noteGeneration(view.tables[0]?.viewId ?? '', generation);
      for (const [shard, table] of view.tables.entries()) {
        const report = positions.get(shard);
        const partition = histories[shard];
        if (report === undefined || partition === undefined || partition.isAsking) continue;
        const throughUs = Math.min(report.completeThroughUs, table.completeThroughUs);
        // By the newest history first; by an older one, wholly, as long as nobody told the replica of a newer one (R3).
        let first: string | undefined;
        const seen: SeenView = { viewId: table.viewId, plan: view.plan, nowUs };
        for (let number = partition.all.length - 1; number >= 0; number--) {
          const { logId, truth } = partition.all[number] as History;
          if (report.logId !== '' && report.logId !== logId) continue;
          const shownBy = (history: number): Map<RowKey, Shown> => this.#shownOf(`${table.viewId} ${history} ${shard}`);
          const shown = shownBy(number);
          const wrong =
            this.#rows(seen, shown, table.rows, truth) ?? this.#complete(seen, table.rows, throughUs, truth);
          first ??= wrong;
          if (wrong !== undefined) continue;
          // Only of the history that it is in: versions of one say nothing about those of another.
          const older = partition.all.slice(0, number).map((one, i) => ({ truth: one.truth, shown: shownBy(i) }));
          rememberGone(truth, older, table.rows);
          remember(shown, table.rows, (key, version, bytes) =>
            bytes === ''
              ? isGoneIn(truth, older, key, version)
              : truth.row(table.viewId, rowKeyText(key), version) !== undefined,
          );
          first = undefined;
          break;
        }
        if (first !== undefined) return `shard ${shard}, view ${view.name}: ${first}`;
      }
    }
    return undefined;
  }

  /**
   * What is not served yet, in words; undefined: everything. By the truth's records, and by the database's own rows, which
   * know nothing of a log.
   */
  unsettled(
    replica: Replica,
    truths: readonly PartitionTruth[],
    totals: ReadonlyMap<number, Total>,
    definitions: DefinitionSet | undefined,
  ): string | undefined {
    const { catalog } = replica;
    if (catalog.generation !== definitions?.generation) return `serves generation ${catalog.generation}`;
    const behind = replica.shards().find(({ shard, position }) => position < (truths[shard]?.end ?? 0));
    if (behind !== undefined) return `shard ${behind.shard} is at ${behind.position}`;
    const view = catalog.views.get('totals');
    if (view === undefined) return 'view totals is not served';
    const layout = rowLayout(view.plan);
    for (const [user, total] of totals) {
      const key = int64KeyString(BigInt(user));
      const row = view.tables[partitionOfKeyString(key, truths.length)]?.rows.get(rowKeyOfText(key));
      const values = row === undefined || row.bytes === '' ? [] : valuesAt(decodeRow(fromLatin1(row.bytes)), 0, layout);
      const [n, spent] = ['n', 'spent'].map((name) => values[view.plan.features.findIndex((f) => f.name === name)]);
      if (n?.value !== total.n || spent?.value !== total.spent) {
        return `user ${user} has ${String(n?.value)} events of ${String(spent?.value)}, the database ${total.n} of ${total.spent}`;
      }
    }
    return undefined;
  }

  #noteGeneration(viewId: string, generation: number): void {
    const before = this.#generations.get(viewId) ?? generation;
    if (generation > before) this.#sights.add('a view went over to a newer generation of its route');
    this.#generations.set(viewId, Math.max(before, generation));
  }

  /**
   * Whether every row that changed before the time is there, at that version or a newer one, and none of an earlier life. One
   * that is dead for good need not be.
   */
  #complete(
    { viewId, plan, nowUs }: SeenView,
    rows: Rows,
    throughUs: number,
    truth: PartitionTruth,
  ): string | undefined {
    const view = truth.views.get(viewId);
    if (view === undefined || throughUs <= 0) return undefined;
    const life = truth.lifeAt(viewId, truth.positionBefore(throughUs));
    if (life < 0) return undefined;
    const through = `complete through ${throughUs}`;
    for (const [key, { rowKey, moments }] of view.keys) {
      const erasedUpTo = this.#erasedUpTo.get(key) ?? -1;
      const row = rows.get(rowKey);
      const version = row === undefined || row.bytes === '' ? undefined : row.version;
      const newest = moments.at(-1) as Moment;
      // The newest there is, of this life: no question is left.
      if (version === newest.version && newest.life >= life) continue;
      const due = moments.findLast((moment) => moment.logTimeUs < throughUs && moment.life >= life);
      if ((due?.version ?? -1) <= erasedUpTo && erasedUpTo >= 0) continue;
      if (due !== undefined && (version ?? -1) < due.version) {
        // A replica that is further than it says may be in a later life of the view, which begins without the row.
        if (version === undefined && due.life < view.livesFrom.length - 1) continue;
        // The shard may be further than it says that it is complete: its row may have died since, by the log's time.
        const atUs = Math.max(nowUs, truth.logTimeUs);
        const isDead = (moment: Moment): boolean => moment.version >= due.version && this.#isDead(moment, plan, atUs);
        if (version !== undefined || !moments.some(isDead)) {
          return `R1: ${through}, but ${hex(key)} is at version ${version ?? 'none'}, not ${due.version}`;
        }
        this.#sights.add('a row that says nothing any more is gone');
      }
      const old = version === undefined ? undefined : truth.row(viewId, key, version);
      if (old !== undefined && old.life < life) return `R1: ${through}, but ${hex(key)} is of an earlier life`;
    }
    return undefined;
  }

  #isDead(moment: Moment, plan: ViewPlan, atUs: number): boolean {
    if (this.#dead.has(moment)) return true;
    const isDead = saysNothing(moment.bytes, plan, atUs);
    if (isDead) this.#dead.add(moment);
    return isDead;
  }

  #rows(
    { viewId, plan, nowUs }: SeenView,
    shown: ReadonlyMap<RowKey, Shown>,
    rows: Rows,
    truth: PartitionTruth,
  ): string | undefined {
    for (const [rowKey, { version, bytes }] of rows) {
      if (version <= (this.#erasedUpTo.get(rowKeyText(rowKey)) ?? -1)) continue;
      const before = shown.get(rowKey);
      if (before !== undefined && version < before.version)
        return `R2: ${hexOf(rowKey)} went from version ${before.version} back to ${version}`;
      if (bytes === '') continue;
      this.rowsChecked += 1;
      // It was compared when it was shown first, and the truth of a version does not change.
      if (before !== undefined && before.version === version && before.bytes === bytes) continue;
      const right = truth.row(viewId, rowKeyText(rowKey), version);
      const atUs = Math.max(nowUs, truth.logTimeUs);
      if (right === undefined && saysNothing(bytes, plan, atUs)) {
        const before = truth.standingBefore(viewId, rowKeyText(rowKey), version);
        if (before === undefined || this.#isDead(before, plan, atUs)) continue;
      }
      if (right === undefined) return `R1: ${hexOf(rowKey)} has version ${version}, which it never had`;
      if (right.bytes !== bytes) return `R1: ${hexOf(rowKey)} at version ${version} has other bytes`;
    }
    return undefined;
  }

  #shownOf(table: string): Map<RowKey, Shown> {
    let shown = this.#shown.get(table);
    if (shown === undefined) {
      shown = new Map();
      this.#shown.set(table, shown);
    }
    return shown;
  }
}

/** A row that passed only because it says nothing may be of an older history: it says nothing of this one either. */
function remember(
  shown: Map<RowKey, Shown>,
  rows: Rows,
  isOf: (key: RowKey, version: number, bytes: string) => boolean,
): void {
  for (const [key, { version, bytes }] of rows) {
    const before = shown.get(key);
    if (before?.version === version && before.bytes === bytes) continue;
    if (isOf(key, version, bytes)) shown.set(key, { version, bytes });
  }
}

/**
 * A row that is gone at a version where the history has no record yet went in an older one: of the same version, once the
 * history has it, it says nothing.
 */
function rememberGone({ entries }: PartitionTruth, older: readonly OlderHistory[], rows: Rows): void {
  for (const [key, { version, bytes }] of rows) {
    if (bytes !== '' || entries[version] !== undefined) continue;
    older.findLast(({ truth }) => truth.entries[version] !== undefined)?.shown.set(key, { version, bytes });
  }
}

/**
 * Whether a row that is gone went in the history: not, if an older one that has another record at that version showed it
 * already, there or gone, nor where the history has no record yet.
 */
function isGoneIn({ entries }: PartitionTruth, older: readonly OlderHistory[], key: RowKey, version: number): boolean {
  const crc = entries[version]?.crc;
  if (crc === undefined) return false;
  return !older.some(({ truth, shown }) => {
    const before = shown.get(key);
    return before?.version === version && truth.entries[version]?.crc !== crc;
  });
}

/**
 * Whether a row says nothing any more. A view that is built from the log may have one where the truth, whose build freed it
 * before it was complete, has none: to a reader they are the same. In the place of a row that lives there is none such.
 */
function saysNothing(bytes: string, plan: ViewPlan, atUs: number): boolean {
  return isDeadRow(decodeRow(fromLatin1(bytes)), unseenColumns(plan), atUs);
}

interface OlderHistory {
  readonly truth: PartitionTruth;
  readonly shown: Map<RowKey, Shown>;
}

interface SeenView {
  readonly viewId: string;
  readonly plan: ViewPlan;
  /** Now, by the replica's clock. */
  readonly nowUs: number;
}

type Rows = ReadonlyMap<RowKey, { readonly version: number; readonly bytes: string }>;

function hexOf(key: RowKey): string {
  return hex(rowKeyText(key));
}

function hex(key: string): string {
  return Buffer.from(key, 'latin1').toString('hex');
}
