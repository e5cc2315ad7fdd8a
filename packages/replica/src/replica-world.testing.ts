/**
 * For tests: a replica of two shards, the nodes that it follows, and everything that can happen to them; after each frame
 * and each restart what it would answer is checked against what upstream held.
 */
import type { ShardCursor, SubscribeChangesResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import type { Stores } from '@freshet/store/key-value-store.ts';
import fc from 'fast-check';
import { JournaledStores } from './journaled-stores.testing.ts';
import { toLatin1 } from './latin1.ts';
import { countRow, countView, definitions, keysOf, type ModelRecord, ModelShard, viewId } from './replica.testing.ts';
import type { ReplicaState } from './replica-state.ts';
import { ReplicaStore } from './replica-store.ts';
import { type RowKey, rowKeyOfText, rowKeyText } from './row-key.ts';
import type { ShardCopy } from './shard-copy.ts';
import { NOT_READABLE_US, type ViewTable } from './view-table.ts';

export const SHARDS = 2;
export const DIRECTORY = 'replica';
const KEYS: readonly (readonly string[])[] = [0, 1].map((shard) => keysOf(shard, SHARDS, 400));
const LOG = 9;
/** About three rows. */
const BATCH_BYTES = 100;

const shard = fc.constantFrom(0, 1);
const node = fc.constantFrom(0, 1);

/** A write that fails: before or after it is done, and which of those to come. */
const arbitraryFailure = fc.record({
  do: fc.constant('fail' as const),
  at: fc.constantFrom('before' as const, 'after' as const),
  skip: fc.nat({ max: 4 }),
});

/** What happens next. */
export const arbitraryAction = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      shard,
      // The node that folds it at once; the other is behind.
      node,
      records: fc.array(fc.record({ view: fc.constantFrom(1, 2), key: fc.nat({ max: 4 }), drops: fc.boolean() }), {
        minLength: 1,
        maxLength: 6,
      }),
    }),
  },
  /** A node that was behind catches up with the log. */
  { weight: 3, arbitrary: fc.record({ do: fc.constant('fold' as const), shard, node }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('live' as const), shard, node }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('subscribe' as const),
      shard,
      node,
      way: fc.constantFrom('journal' as const, 'pass' as const),
      size: fc.integer({ min: 1, max: 4 }),
      // How far the commit is behind that pages are made of, in records.
      lag: fc.integer({ min: 0, max: 6 }),
      // Frames of the catch-up after which the stream breaks.
      frames: fc.integer({ min: 0, max: 14 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('twice' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const), shard, node }) },
  /** The views that upstream has in force. */
  { weight: 1, arbitrary: fc.record({ do: fc.constant('views' as const), both: fc.boolean() }) },
  /** A view's route begins anew in a shard, or the snapshot of what began has ended there. */
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('turn' as const),
      shard,
      node,
      view: fc.constantFrom(1, 2),
      // Seldom does one end that was begun by another action.
      what: fc.constantFrom('begin' as const, 'end' as const, 'whole' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('otherLog' as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('flush' as const) }) },
  { weight: 2, arbitrary: arbitraryFailure },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('renew' as const) }) },
);

export type Action = typeof arbitraryAction extends fc.Arbitrary<infer A> ? A : never;

/** What the upstreams hold: rows are a function of the log and a position in it. */
export class Upstreams {
  log = LOG;
  readonly #logs = new Map<string, ModelShard[]>();
  /** How far each node has folded each shard. */
  readonly ends: number[][] = [
    [0, 0],
    [0, 0],
  ];
  views: readonly number[] = [1, 2];

  constructor() {
    this.#begin();
  }

  get models(): readonly ModelShard[] {
    return this.of(viewId(this.log)) ?? [];
  }

  of(logId: string): ModelShard[] | undefined {
    return this.#logs.get(logId);
  }

  model(number: number): ModelShard {
    const model = this.models[number];
    assert(model !== undefined, 'a shard that there is');
    return model;
  }

  end(number: number, which: number): number {
    return this.ends[number]?.[which] ?? 0;
  }

  fold(number: number, which: number): void {
    const ends = this.ends[number];
    if (ends !== undefined) ends[which] = this.model(number).end;
  }

  otherLog(): void {
    this.log -= 1;
    this.#begin();
  }

  #begin(): void {
    const models = [0, 1].map((number) => {
      const model = new ModelShard(number, this.log, this.views);
      // Both views have a row, or a pass of the view would have no page to be seen by.
      for (const view of [1, 2]) model.records.push({ view, key: KEYS[number]?.[0] ?? '', drops: false });
      return model;
    });
    this.#logs.set(viewId(this.log), models);
    for (const number of [0, 1]) for (const which of [0, 1]) this.fold(number, which);
  }
}

/** A replica in the world. */
export class World {
  readonly upstreams: Upstreams;
  readonly #stores: Stores;
  readonly damage: string[] = [];
  /** How often the store was put aside for damage that there was not. */
  renewals = 0;
  /** The newest version shown, by log, view and key; while this process lives. */
  readonly #shown = new Map<string, { version: number; gone: boolean }>();
  #last: SubscribeChangesResponse | undefined;
  /** Whether the service could be read at the last look; while this process lives. */
  #served = false;
  store!: ReplicaStore;
  state!: ReplicaState;

  constructor(stores: Stores, upstreams: Upstreams = new Upstreams()) {
    this.#stores = stores;
    this.upstreams = upstreams;
  }

  async start(): Promise<void> {
    this.store = await ReplicaStore.open({
      stores: this.#stores,
      directory: DIRECTORY,
      onDamage: (what) => this.damage.push(what),
      batchBytes: BATCH_BYTES,
    });
    this.state = await this.store.load();
    this.state.learnShardCount(SHARDS);
    this.state.define(definitions(1, [countView(1), countView(2)]));
    this.#shown.clear();
    this.#served = false;
    this.#last = undefined;
    this.check();
  }

  async restart(): Promise<void> {
    await this.store.close();
    await this.start();
  }

  async act(action: Action): Promise<void> {
    const { upstreams, state } = this;
    if (action.do === 'append') {
      const records = action.records.map(({ view, key, drops }): ModelRecord => {
        return { view, key: KEYS[action.shard]?.[key] ?? '', drops };
      });
      upstreams.model(action.shard).records.push(...records);
      upstreams.fold(action.shard, action.node);
    } else if (action.do === 'turn') {
      const model = upstreams.model(action.shard);
      const { view, what } = action;
      if (what !== 'end') model.turn(view, 'begin');
      if (what === 'whole') model.records.push({ view, key: KEYS[action.shard]?.[1] ?? '', drops: false });
      if (what !== 'begin') model.turn(view, 'end');
      upstreams.fold(action.shard, action.node);
    } else if (action.do === 'fold') upstreams.fold(action.shard, action.node);
    else if (action.do === 'live') this.#live(action.shard, action.node);
    else if (action.do === 'subscribe') this.#subscribe(action);
    else if (action.do === 'twice') {
      if (this.#last !== undefined) this.#take(this.#last);
    } else if (action.do === 'lose') this.#loseFrame(action.shard, action.node);
    else if (action.do === 'views') {
      upstreams.views = action.both ? [1, 2] : [1];
      for (const model of upstreams.models) model.views = [...upstreams.views];
    } else if (action.do === 'otherLog') {
      if (upstreams.log > LOG - 2) upstreams.otherLog();
    } else if (action.do === 'flush') await this.store.flush(state).catch(() => undefined);
    else if (action.do === 'fail') {
      if (this.#stores instanceof JournaledStores) this.#stores.fail(action.at, action.skip);
    } else if (action.do === 'restart') await this.restart();
    else {
      this.renewals += 1;
      await this.store.renew(state, 'a scrub found damage');
    }
    this.check();
  }

  /** All that there is comes, and both nodes have it: the replica has exactly upstream's rows. */
  settle(): void {
    const { upstreams } = this;
    upstreams.views = [1, 2];
    for (const view of [1, 2]) {
      const newest = Math.max(...upstreams.models.map((model) => model.newest(view).number));
      for (const model of upstreams.models) {
        while (model.newest(view).number < newest) model.turn(view, 'begin');
        model.turn(view, 'end');
      }
    }
    for (const [number, model] of upstreams.models.entries()) {
      model.views = [1, 2];
      // Upstream says something after the views came back.
      model.records.push({ view: 1, key: KEYS[number]?.[0] ?? '', drops: false });
      for (const which of [0, 1]) upstreams.fold(number, which);
    }
    for (const number of [0, 1] as const)
      this.#subscribe({ shard: number, node: 0, way: 'pass', size: 3, lag: 2, frames: 1000 });
    this.check();
    const { catalog } = this.state;
    assert(catalog.services.has('all'), 'the service is served');
    assert(this.state.pending.length === 0, 'no view waits for a generation');
    for (const [number, { served, lost }] of this.state.shards) {
      const model = upstreams.model(number);
      assert(!lost && served.logId === model.logId, 'the shard is served by the log that there is');
      assert(served.position === model.end, 'it has caught up');
      for (const view of [1, 2]) {
        const table = served.tables.get(viewId(view));
        assert(table?.generation === model.newest(view).number, 'R3: the newest generation is read');
        assert(!served.successors.has(viewId(view)), 'and nothing waits to be');
        assertSame(served, view, model);
      }
    }
  }

  /** Everything that a reader could see is right. */
  check(): void {
    const { state, upstreams } = this;
    const logs = new Set<string>();
    for (const { served, lost } of state.shards.values()) {
      if (served.whole) logs.add(served.logId);
      const lacks = [...state.catalog.views.values()].some(
        ({ tables }) => tables[served.shard]?.completeThroughUs === NOT_READABLE_US,
      );
      assert(!(lost && served.whole) || lacks, 'what is whole is not lost');
      const model = upstreams.of(served.logId)?.[served.shard];
      if (model === undefined) continue;
      if (served.whole)
        assert(served.completeThroughUs === served.position * 1000, 'R1: complete as far as the cursor');
      for (const table of served.everyTable()) {
        assert(!table.whole || table.completeThroughUs <= served.completeThroughUs, 'R1: a view is no more complete');
        if (table.whole) this.#checkTable(served, table, model);
      }
    }
    assert(logs.size <= 1, 'R3: rows of one log');
    const isServed = state.catalog.services.has('all');
    assert(isServed || !this.#served, 'what was served is served on');
    this.#served = isServed;
    for (const view of state.catalog.views.values()) {
      const readable = view.tables.filter(({ completeThroughUs }) => completeThroughUs !== NOT_READABLE_US);
      assert(new Set(readable.map(({ generation }) => generation)).size === 1, 'R3: rows of one generation');
      for (const [number, table] of view.tables.entries()) {
        const { served, lost } = state.shards.get(number) ?? { served: undefined, lost: false };
        const isReadable = table.completeThroughUs !== NOT_READABLE_US;
        assert(isReadable ? table.whole && served?.whole === true : lost, 'R3: what is read is whole');
      }
    }
  }

  #checkTable(copy: ShardCopy, table: ViewTable, model: ModelShard): void {
    const id = table.viewId;
    const isRead = copy.tables.get(id) === table;
    const view = id === viewId(1) ? 1 : 2;
    const position = table.completeThroughUs / 1000;
    const until = model.completeUntil(view, table.generation);
    assert(position <= until, 'R1: rows that stand still are complete no further than to where they came to stand');
    const expected = model.state(view, position, table.generation);
    const keys = new Set([...expected.keys(), ...[...table.rows.keys()].map(rowKeyText)]);
    for (const key of keys) {
      const row = table.rows.get(rowKeyOfText(key));
      const version = expected.get(key) ?? -Infinity;
      const newer = model.records.findLastIndex((r, i) => i >= position && r.view === view && r.key === key);
      const least = version < 0 ? -version - 1 : version;
      if (row === undefined || row.bytes === '') {
        assert(version < 0 || newer >= 0, `R1: a row of view ${view} is missing at ${position}`);
      } else {
        assert(row.bytes === toLatin1(countRow(row.version)), 'R1: equal bytes at equal versions');
        assert(
          row.version >= (Number.isFinite(least) ? least : position),
          `R1: an old row of view ${view} at ${position}`,
        );
        const record = model.records[row.version];
        assert(record?.view === view && record.key === key && !record.drops, 'R1: a version that there was');
      }
      if (isRead)
        this.#checkVersion(
          `${copy.logId} ${id} ${key}`,
          row === undefined || row.bytes === '' ? undefined : row.version,
        );
    }
  }

  /** R2: a version never goes back, not through a deletion either. */
  #checkVersion(name: string, version: number | undefined): void {
    const before = this.#shown.get(name) ?? { version: -1, gone: false };
    if (version === undefined) this.#shown.set(name, { version: before.version, gone: before.version >= 0 });
    else {
      assert(version >= before.version + (before.gone ? 1 : 0), `R2: from ${before.version} to ${version}`);
      this.#shown.set(name, { version, gone: false });
    }
  }

  /** Applies a frame; false when it was refused. */
  #take(frame: SubscribeChangesResponse): boolean {
    const applied = this.state.apply(frame);
    if (applied.outcome === 'refused') {
      this.state.disconnected([frame.shard]);
      this.check();
      return false;
    }
    if (applied.rest !== undefined) for (const _ of applied.rest) this.check();
    this.#last = frame;
    this.check();
    return true;
  }

  /** Frames go on from where the last one ended, if that is the node's log, and the node is not behind. */
  #live(number: number, which: number): void {
    const model = this.upstreams.model(number);
    const cursor = this.state.cursor(number);
    const at = Number(cursor.position);
    const to = this.upstreams.end(number, which);
    const had = cursor.views.map((id) => Buffer.from(id).toString('hex'));
    const isFollowed = model.views.every((view) => had.includes(viewId(view)) && isSameGeneration(model, view, at, to));
    if (at === 0 || to <= at || !isFollowed || !sameLog(cursor.logId, model)) return;
    for (const frame of model.live(at, to)) this.#take(frame);
  }

  #subscribe(how: Omit<Extract<Action, { do: 'subscribe' }>, 'do'>): void {
    const { state } = this;
    const model = this.upstreams.model(how.shard);
    state.disconnected([how.shard]);
    let sent = state.cursor(how.shard);
    const to = this.upstreams.end(how.shard, how.node);
    // Another log begins at nothing; a node that is behind waits.
    if (sent.position > 0n && !sameLog(sent.logId, model)) sent = model.cursor(0);
    if (to < Number(sent.position)) return;
    const had = new Set(sent.views.map((id) => Buffer.from(id).toString('hex')));
    // What was shown at the cursor and is no more is not had.
    const isHad = (view: number): boolean =>
      had.has(viewId(view)) && isSameGeneration(model, view, Number(sent.position), to);
    const isFollowed = model.views.every(isHad);
    const claimed = model.cursor(Number(sent.position), model.views.filter(isHad));
    const frames =
      how.way === 'journal' && sent.position > 0n && isFollowed
        ? model.journal(claimed, to, how.size)
        : catchUp(model, claimed, to, how);
    let left = how.frames;
    // That the cursor no longer names a view is said before anything of the view comes.
    const isRetracted = sent.position > 0n && claimed.views.length < sent.views.length;
    if (isRetracted && !this.#take(model.frame(Number(sent.position), claimed, [], to))) return;
    for (const frame of frames) {
      if (left-- === 0 || !this.#take(frame)) break;
    }
    if (left < 0) state.disconnected([how.shard]);
  }

  /** A frame goes missing: the one after it is refused. */
  #loseFrame(number: number, which: number): void {
    const model = this.upstreams.model(number);
    const copies = this.state.shards.get(number);
    const end = this.upstreams.end(number, which);
    if (copies === undefined || copies.served.position === 0 || !sameLog(copies.served.cursor.logId, model)) return;
    if (end + 1 <= copies.served.position || end === copies.served.position) return;
    const { position } = copies.served;
    this.upstreams.model(number).records.push({ view: 1, key: KEYS[number]?.[1] ?? '', drops: false });
    this.upstreams.fold(number, which);
    for (const frame of model.live(end, end + 1)) assert(!this.#take(frame), 'a frame after a gap is refused');
    assert(copies.served.position === position, 'and moves nothing');
  }
}

/** Pages of a commit, and between them what changed since it. */
function* catchUp(
  model: ModelShard,
  sent: ShardCursor,
  to: number,
  { lag, size }: { readonly lag: number; readonly size: number },
): Generator<SubscribeChangesResponse> {
  const from = Number(sent.position);
  const asOf = Math.max(0, to - lag);
  const changed = model.changed(asOf, to, to);
  for (const view of model.views) {
    // A pass is of a commit in which what is shown now was shown.
    const { completeAt } = model.shown(view, to);
    for (const page of model.passOf(view, from, sent, Math.max(asOf, completeAt), size, to)) {
      // Sometimes what changed comes first, sometimes the page.
      const some = changed.splice(0, size - 1);
      if (size > 2 && some.length > 0) yield model.frame(from, sent, some, to);
      yield page;
      if (size <= 2 && some.length > 0) yield model.frame(from, sent, some, to);
    }
  }
  yield model.frame(from, model.cursor(to), changed);
}

function isSameGeneration(model: ModelShard, view: number, a: number, b: number): boolean {
  return model.shown(view, a).generation === model.shown(view, b).generation;
}

function sameLog(logId: Uint8Array, model: ModelShard): boolean {
  return Buffer.from(logId).toString('hex') === model.logId;
}

/** Exactly the rows that upstream has. */
function assertSame(copy: ShardCopy, view: number, model: ModelShard): void {
  const rows = copy.tables.get(viewId(view))?.rows ?? new Map<RowKey, never>();
  const expected = [...model.state(view, model.end)].filter(([, version]) => version >= 0);
  const present = [...rows.values()].filter(({ bytes }) => bytes !== '');
  assert(present.length === expected.length, `R1: ${present.length} rows of ${expected.length}`);
  for (const [key, version] of expected) {
    assert(rows.get(rowKeyOfText(key))?.version === version, 'R1: the version that upstream has');
  }
}
