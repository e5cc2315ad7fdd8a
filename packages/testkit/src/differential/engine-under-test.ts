/**
 * The engine's fold of one partition with its state in plain maps: what compute does around it, without I/O.
 *
 * Owns the cold state, the last commit, and the feeding of builds. A crash forgets everything since the last commit.
 */

import { isDeadRow, unseenColumns } from '@freshet/engine/rows/dead-row.ts';
import { decodeRow } from '@freshet/engine/rows/row-codec.ts';
import { rowLayout, valuesAt } from '@freshet/engine/rows/row-reader.ts';
import {
  type ColdState,
  type DirtyKeys,
  type FoldCommit,
  type FoldEntry,
  ShardFold,
} from '@freshet/engine/shard-fold.ts';
import type { FeaturePlan, ServicePlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { keyString } from '@freshet/values/key.ts';
import type { Scenario, ScenarioKey } from '../generate/scenario.ts';
import { hex } from '../oracle/history.ts';
import { type OracleAnswer, oracleValue, scalarOf } from '../oracle/oracle.ts';
import { sameValue } from '../oracle/order.ts';
import { show } from './compare.ts';
import { type RowView, viewRow } from './row-view.ts';

/** Committed state in sorted maps. */
class MemoryCold implements ColdState {
  readonly #instances = new Map<string, Map<string, Uint8Array>>();

  load(instance: string, key: string): Uint8Array | undefined {
    return this.#instances.get(instance)?.get(key);
  }

  *scan(instance: string, afterKey: string | undefined): Iterable<[key: string, state: Uint8Array]> {
    const entries = [...(this.#instances.get(instance) ?? [])].sort(([a], [b]) => (a < b ? -1 : Number(a > b)));
    for (const [key, state] of entries) if (afterKey === undefined || key > afterKey) yield [key, state];
  }

  get size(): number {
    return [...this.#instances.values()].reduce((sum, keys) => sum + keys.size, 0);
  }

  put(instance: string, key: string, state: Uint8Array | undefined): void {
    const keys = this.#instances.get(instance) ?? new Map<string, Uint8Array>();
    this.#instances.set(instance, keys);
    if (state === undefined) keys.delete(key);
    else keys.set(key, state.slice());
  }
}

/** A row as a replica would get it. */
export interface EngineRow {
  readonly view: string;
  readonly key: string;
  readonly version: number;
  readonly bytes: string;
}

export class EngineUnderTest {
  readonly entries: readonly FoldEntry[];
  readonly #cold = new MemoryCold();
  readonly #cacheBytes: number;
  readonly #origin: number;
  #meta: Uint8Array | undefined;
  #taken: FoldCommit | undefined;
  #fold: ShardFold;

  /** `origin`: the first record that it has. */
  constructor(scenario: Pick<Scenario, 'records'>, options: { readonly cacheBytes: number; readonly origin?: number }) {
    this.entries = scenario.records.map(({ logTimeUs, record }, offset) => ({
      offset,
      logTimeUs,
      record,
      crc: (offset * 2_654_435_761) >>> 0,
    }));
    this.#cacheBytes = options.cacheBytes;
    this.#origin = options.origin ?? 0;
    this.#fold = this.#open();
  }

  get fold(): ShardFold {
    return this.#fold;
  }

  /** Folds the next records; does not feed builds. */
  foldNext(count: number): void {
    const from = this.#fold.position;
    this.#fold.fold(this.entries.slice(from, from + count));
  }

  /** Feeds each build up to that many records; without a limit until no view is being built. */
  feedBuilds(limit = Number.POSITIVE_INFINITY): void {
    for (let round = 0; ; round++) {
      assert(round < 3, 'a build does not end');
      for (const build of this.#fold.builds()) {
        const until = Math.min(this.#fold.position, build.position + limit);
        if (until > build.position) this.#fold.foldBuild(build.viewId, this.entries.slice(build.position, until));
      }
      // One that joins tables reads twice.
      if (limit !== Number.POSITIVE_INFINITY || this.#fold.builds().length === 0) return;
    }
  }

  /** Makes everything folded durable and lets the cache shrink. The rows that changed since the last commit. */
  commit(): DirtyKeys {
    this.endCommit();
    const taken = this.beginCommit();
    this.endCommit();
    return taken.changed;
  }

  /** Takes a commit that is not durable before endCommit(). */
  beginCommit(): FoldCommit {
    this.endCommit();
    this.#taken = this.#fold.takeCommit();
    return this.#taken;
  }

  /** The commit that was begun, if one was, is durable. */
  endCommit(): void {
    if (this.#taken === undefined) return;
    for (const [instance, key, state, replaced] of this.#taken.puts) {
      // Else a store's count of its keys would be wrong.
      const isThere = this.#cold.load(instance, key) !== undefined;
      if (isThere !== (replaced !== -1))
        throw new Error(`a put says that it replaces ${replaced}, there is ${isThere}`);
      this.#cold.put(instance, key, state);
    }
    this.#meta = this.#taken.meta.slice();
    this.#taken = undefined;
    this.#fold.evict();
  }

  /** Loses everything since the last commit that is durable. */
  crash(): void {
    this.#taken = undefined;
    this.#fold = this.#open();
  }

  /** Frees what is dead in all that is stored, or in a part of it; how much. */
  sweep(isMeant: (index: number) => boolean = () => true): number {
    let freed = 0;
    for (const name of this.#fold.sweepable()) {
      const page = [...this.#cold.scan(name, undefined)].filter((_, index) => isMeant(index));
      freed += this.#fold.sweep(name, page);
    }
    return freed;
  }

  /** How many states and leaves of contributions are stored. */
  get stored(): number {
    return this.#cold.size;
  }

  rowView(view: ViewPlan, key: ScenarioKey): RowView | undefined {
    const row = this.#fold.row(hex(view.viewId), keyString(key.bytes));
    return row === undefined ? undefined : viewRow(view, row.bytes);
  }

  /** The rows that are not dead: a sweep may or may not have freed those that are. */
  livingRows(): EngineRow[] {
    const views = this.#fold.definitions?.views ?? [];
    return this.rows().filter(({ view: id, bytes }) => {
      const view = must(views.find(({ viewId }) => hex(viewId) === id));
      const row = decodeRow(Buffer.from(bytes, 'hex'), rowLayout(view).types);
      return !isDeadRow(row, unseenColumns(view), this.#fold.logTimeUs);
    });
  }

  /** All rows of all complete views, in order. */
  rows(): EngineRow[] {
    return this.#fold.completeViews().flatMap((view) =>
      [...this.#fold.keys(view, undefined)].flatMap((key) => {
        const row = this.#fold.row(view, key);
        return row === undefined ? [] : [{ view, key, version: row.version, bytes: hex(row.bytes) }];
      }),
    );
  }

  /** What a service answers, as a replica that holds these rows would. */
  read(service: ServicePlan, key: ScenarioKey, tUs: number): OracleAnswer[] {
    const views = must(this.#fold.definitions).views;
    const answers = new Map<string, OracleAnswer[]>();
    return service.features.map(({ viewId, feature }) => {
      const view = must(views.find((candidate) => hex(candidate.viewId) === hex(viewId)));
      const ofView = answers.get(hex(viewId)) ?? this.#readView(view, key, tUs);
      answers.set(hex(viewId), ofView);
      return must(ofView[feature]);
    });
  }

  #readView(view: ViewPlan, key: ScenarioKey, tUs: number): OracleAnswer[] {
    const row = this.#fold.row(hex(view.viewId), keyString(key.bytes));
    // A key without a row is answered like an entity that was never seen; which values those are is the oracle's.
    if (row === undefined) return view.features.map((feature) => oracleValue(feature, [], BigInt(tUs)));
    const answers = viewRow(view, row.bytes).answersAt(BigInt(tUs));
    const layout = rowLayout(view);
    valuesAt(decodeRow(row.bytes, layout.types), tUs, layout).forEach(({ status, value }, index) => {
      const { resultType, name } = must(view.features[index]);
      const expected = must(answers[index]);
      const same = status === expected.status && sameValue(must(resultType), expected.value, value);
      if (!same)
        throw new Error(
          `${name} at ${tUs}: the engine's reader gives ${show({ status, value })}, not ${show(expected)}`,
        );
    });
    return answers.map((answer, index) => withDefault(must(view.features[index]), answer));
  }

  #open(): ShardFold {
    return new ShardFold({ cold: this.#cold, cacheBytes: this.#cacheBytes, meta: this.#meta, origin: this.#origin });
  }
}

/** Rows say ABSENT; the declared default is the reader's to fill in, since it is in the plan. */
function withDefault({ defaultValue }: FeaturePlan, answer: OracleAnswer): OracleAnswer {
  if (answer.status !== ValueStatus.ABSENT || defaultValue === undefined) return answer;
  return { status: ValueStatus.DEFAULTED, value: scalarOf(defaultValue) };
}
