/**
 * A fold of a few lines: each view counts the inserts of its route per key; a delete of the route removes the key's row.
 * Its state is its row. It is there to test shards with every kind of change, the ones that the engine does not make
 * yet included (rows that go), and to say independently what the rows must be.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { type DefinitionSet, DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import { toHex } from '@freshet/kit/hex.ts';
import type { LogEntry } from '@freshet/log/log.ts';
import { keyString } from '@freshet/values/key.ts';
import type {
  Build,
  ColdState,
  EncodedRow,
  Fold,
  FoldCommit,
  FoldOptions,
  FoldStats,
  StateDigest,
} from '../core/fold-port.ts';

interface View {
  readonly instance: string;
  readonly route: number;
  /** Records folded when it is being built; undefined when complete. */
  building: number | undefined;
  /** Where it became complete. */
  completeAt: number | undefined;
}

interface State {
  readonly version: number;
  readonly count: number;
}

/** A row's bytes: padded, so that frames and pages have something to split. */
export function countingRow({ version, count }: State): EncodedRow {
  return { version, bytes: new TextEncoder().encode(`${count}@${version}`.padEnd(40)) };
}

export function createCountingFold(options: FoldOptions): Fold {
  return new CountingFold(options);
}

export class CountingFold implements Fold {
  position = 0;
  readonly origin = 0;
  logTimeUs = 0;
  recordCrc = 0;
  generation = 0;
  definitions: DefinitionSet | undefined;
  readonly #cold: ColdState;
  readonly #views = new Map<string, View>();
  /** By instance and key; null: deleted. */
  readonly #cache = new Map<string, Map<string, State | null>>();
  #dirty = new Map<string, Set<string>>();
  #unwritten = new Map<string, Set<string>>();
  #changed = new Map<string, Set<string>>();

  constructor({ cold, meta }: FoldOptions) {
    this.#cold = cold;
    if (meta === undefined) return;
    const saved = JSON.parse(new TextDecoder().decode(meta)) as SavedMeta;
    Object.assign(this, {
      position: saved.position,
      logTimeUs: saved.logTimeUs,
      recordCrc: saved.recordCrc,
      generation: saved.generation,
    });
    for (const [viewId, view] of saved.views) {
      this.#views.set(viewId, {
        instance: view.instance,
        route: view.route,
        building: view.building ?? undefined,
        completeAt: view.completeAt ?? undefined,
      });
    }
  }

  get dirtyBytes(): number {
    let keys = 0;
    for (const set of this.#unwritten.values()) keys += set.size;
    return keys * 100;
  }

  foldSome(entries: readonly LogEntry[]): number {
    for (const entry of entries) {
      assert(entry.offset === this.position, 'F3: offset gap');
      this.position += 1;
      this.logTimeUs = entry.logTimeUs;
      this.recordCrc = entry.crc;
      const { kind } = fromBinary(LogRecordSchema, entry.record);
      if (kind.case === 'definitions') this.#define(kind.value);
      else this.#apply(entry, undefined);
    }
    return entries.length;
  }

  takeDirty(): Map<string, Set<string>> {
    const dirty = this.#dirty;
    this.#dirty = new Map();
    return dirty;
  }

  row(viewId: string, key: string): EncodedRow | undefined {
    const state = this.#completeState(viewId, key);
    return state === undefined ? undefined : countingRow(state);
  }

  version(viewId: string, key: string): number | undefined {
    return this.#completeState(viewId, key)?.version;
  }

  rowFromState(_viewId: string, _key: string, state: Uint8Array): EncodedRow | undefined {
    return countingRow(decode(state));
  }

  builds(): Build[] {
    return [...this.#views].flatMap(([viewId, view]) =>
      view.building === undefined ? [] : [{ viewId, position: view.building }],
    );
  }

  foldBuild(viewId: string, entries: readonly LogEntry[]): void {
    const view = this.#views.get(viewId);
    assert(view?.building !== undefined, 'only builds are built');
    for (const entry of entries) {
      assert(entry.offset === view.building && entry.offset < this.position, 'F3: a build has no gap');
      this.#apply(entry, viewId);
      view.building += 1;
    }
    if (view.building !== this.position) return;
    view.building = undefined;
    view.completeAt = this.position;
  }

  restartBuild(viewId: string): void {
    const view = this.#views.get(viewId);
    if (view?.building === undefined || view.building === 0) return;
    // A name that no generation of definitions gives.
    const instance = viewId + (2 ** 31 + this.position).toString(16);
    this.#views.set(viewId, { ...view, instance, building: 0 });
    for (const kept of [this.#cache, this.#unwritten]) kept.delete(view.instance);
  }

  completeViews(): string[] {
    return [...this.#views].flatMap(([viewId, view]) => (view.building === undefined ? [viewId] : [])).sort();
  }

  completeAt(viewId: string): number | undefined {
    return this.#views.get(viewId)?.completeAt;
  }

  waitingForRoutes(): readonly number[] {
    return [];
  }

  routeGeneration(): number {
    return 0;
  }

  instanceOf(viewId: string): string | undefined {
    return this.#views.get(viewId)?.instance;
  }

  generationOf(viewId: string): number | undefined {
    return this.#views.has(viewId) ? 1 : undefined;
  }

  standing(): undefined {
    return undefined;
  }

  successors(): [] {
    return [];
  }

  instances(): string[] {
    return [...this.#views.values()].map((view) => view.instance);
  }

  contributions(): string[] {
    return [];
  }

  sweepable(): string[] {
    return [];
  }

  sweep(): number {
    return 0;
  }

  swept(): void {
    // Nothing is ever freed.
  }

  forget(): readonly string[] {
    return [];
  }

  takeCommit(): FoldCommit {
    const puts: [string, string, Uint8Array | undefined, number][] = [];
    for (const [instance, keys] of this.#unwritten) {
      for (const key of keys) {
        const state = this.#cache.get(instance)?.get(key);
        assert(state !== undefined, 'what is unwritten is in memory');
        const stored = this.#cold.load(instance, key);
        const replaced = stored === undefined ? -1 : decode(stored).version;
        puts.push([instance, key, state === null ? undefined : encode(state), replaced]);
      }
    }
    const meta: SavedMeta = {
      position: this.position,
      logTimeUs: this.logTimeUs,
      recordCrc: this.recordCrc,
      generation: this.generation,
      views: [...this.#views].map(([viewId, v]) => [
        viewId,
        { instance: v.instance, route: v.route, building: v.building ?? null, completeAt: v.completeAt ?? null },
      ]),
    };
    const changed = this.#changed;
    this.#changed = new Map();
    this.#unwritten = new Map();
    return { puts, meta: new TextEncoder().encode(JSON.stringify(meta)), changed };
  }

  /** Forgets all that is durable: what is needed again comes from the store. */
  evict(): void {
    for (const [instance, keys] of this.#cache) {
      for (const key of keys.keys()) if (!this.#unwritten.get(instance)?.has(key)) keys.delete(key);
    }
  }

  stats(): FoldStats {
    return { keys: 0, expiredEvents: 0, expressionErrors: 0, unknownContracts: 0, joinMisses: 0, cacheBytes: 0 };
  }

  #define(set: DefinitionSet): void {
    const generation = Number(set.generation);
    if (generation <= this.generation) return;
    this.generation = generation;
    this.definitions = set;
    const named = new Set(set.views.map((view) => toHex(view.viewId)));
    for (const viewId of this.#views.keys()) {
      if (named.has(viewId)) continue;
      this.#views.delete(viewId);
      for (const kept of [this.#dirty, this.#changed]) kept.delete(viewId);
    }
    for (const view of set.views) {
      const viewId = toHex(view.viewId);
      if (this.#views.has(viewId)) continue;
      const instance = viewId + generation.toString(16).padStart(8, '0');
      this.#views.set(viewId, { instance, route: view.route, building: 0, completeAt: undefined });
    }
    const live = new Set([...this.#views.values()].map((view) => view.instance));
    for (const kept of [this.#cache, this.#unwritten]) {
      for (const instance of kept.keys()) if (!live.has(instance)) kept.delete(instance);
    }
  }

  /** Applies a record to one build, or to all complete views. */
  #apply(entry: LogEntry, build: string | undefined): void {
    const { kind } = fromBinary(LogRecordSchema, entry.record);
    if (kind.case !== 'change') return;
    const key = keyString(kind.value.entityKey);
    for (const [viewId, view] of this.#views) {
      if (view.route !== kind.value.route || (build === undefined ? view.building !== undefined : viewId !== build))
        continue;
      const before = this.#state(view.instance, key);
      if (kind.value.operation === Operation.UPDATE) continue;
      const gone = kind.value.operation === Operation.DELETE;
      if (gone && before === undefined) continue;
      const after = gone ? null : { version: entry.offset, count: (before?.count ?? 0) + 1 };
      inner(this.#cache, view.instance, () => new Map<string, State | null>()).set(key, after);
      inner(this.#unwritten, view.instance, () => new Set<string>()).add(key);
      if (build !== undefined) continue;
      inner(this.#dirty, viewId, () => new Set<string>()).add(key);
      inner(this.#changed, viewId, () => new Set<string>()).add(key);
    }
  }

  #completeState(viewId: string, key: string): State | undefined {
    const view = this.#views.get(viewId);
    return view === undefined || view.building !== undefined ? undefined : this.#state(view.instance, key);
  }

  #state(instance: string, key: string): State | undefined {
    const known = this.#cache.get(instance)?.get(key);
    if (known !== undefined) return known ?? undefined;
    const stored = this.#cold.load(instance, key);
    if (stored === undefined) return undefined;
    const state = decode(stored);
    inner(this.#cache, instance, () => new Map<string, State | null>()).set(key, state);
    return state;
  }
}

interface SavedMeta {
  readonly position: number;
  readonly logTimeUs: number;
  readonly recordCrc: number;
  readonly generation: number;
  readonly views: readonly [
    string,
    { instance: string; route: number; building: number | null; completeAt: number | null },
  ][];
}

/** The digest of committed state, for one fold to be compared with another. */
export function createCountingDigest(meta: Uint8Array): StateDigest {
  const saved = JSON.parse(new TextDecoder().decode(meta)) as SavedMeta;
  const complete = new Set(saved.views.flatMap(([, v]) => (v.building === null ? [v.instance] : [])));
  const lines = [`${saved.position}/${saved.generation}`];
  return {
    add: (instance, key, state) => {
      if (complete.has(instance)) lines.push(`${instance}/${key}=${new TextDecoder().decode(state)}`);
    },
    finish: () => new TextEncoder().encode(lines.join('\n')),
  };
}

/** A definitions record. View n of route r has id `viewId(n)`. */
export function definitionsRecord(generation: number, views: readonly { n: number; route: number }[]): Uint8Array {
  const set = create(DefinitionSetSchema, {
    generation: BigInt(generation),
    views: views.map(({ n, route }) => ({ viewId: Buffer.from(viewId(n), 'hex'), name: `view_${n}`, route })),
  });
  return toBinary(LogRecordSchema, create(LogRecordSchema, { kind: { case: 'definitions', value: set } }));
}

export function changeRecord(route: number, key: Uint8Array, operation: Operation = Operation.INSERT): Uint8Array {
  return toBinary(
    LogRecordSchema,
    create(LogRecordSchema, { kind: { case: 'change', value: { route, entityKey: key, operation } } }),
  );
}

export function tickRecord(): Uint8Array {
  return toBinary(LogRecordSchema, create(LogRecordSchema, { kind: { case: 'tick', value: {} } }));
}

export function viewId(n: number): string {
  return n.toString(16).padStart(32, '0');
}

/** The version of an encoded state. */
export function countingVersion(state: Uint8Array): number {
  return decode(state).version;
}

function encode(state: State): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(state));
}

function decode(bytes: Uint8Array): State {
  return JSON.parse(new TextDecoder().decode(bytes)) as State;
}

function inner<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
