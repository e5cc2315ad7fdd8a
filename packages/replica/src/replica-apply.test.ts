/**
 * Goal: whatever a stream does (frames twice, frames lost, ends anywhere, comes back by journal or pass, the process
 * restarting from its disk at any flush), a replica holds what upstream held.
 * Method: random histories and faults against ModelShard, whose state is a fold anyone can check by eye; after every
 * frame the replica's rows are compared with the model's state at the replica's own position.
 */
import type { SubscribeChangesResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { MemoryDisk } from '@freshet/store/memory-store.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toLatin1 } from './latin1.ts';
import { countRow, keysOf, ModelShard, viewId } from './replica.testing.ts';
import { ReplicaState } from './replica-state.ts';
import { ReplicaStore } from './replica-store.ts';
import { rowKeyOfText, rowKeyText } from './row-key.ts';
import type { ShardCopy } from './shard-copy.ts';

const KEYS = keysOf(0, 1, 6);

const arbitraryRecord = fc.record({
  view: fc.constantFrom(1, 2),
  key: fc.constantFrom(...KEYS),
  drops: fc.boolean(),
});

/** What happens next. */
const arbitraryAction = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      records: fc.array(arbitraryRecord, { minLength: 1, maxLength: 6 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('live' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('reopen' as const),
      way: fc.constantFrom('journal' as const, 'pass' as const),
      size: fc.integer({ min: 1, max: 4 }),
      // Frames of the catch-up after which the stream breaks.
      frames: fc.integer({ min: 0, max: 12 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('twice' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('lose' as const),
      records: fc.array(arbitraryRecord, { minLength: 1, maxLength: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('flush' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
);

/** A replica of one shard, with what a reader has seen of it. */
class Subject {
  state = new ReplicaState();
  readonly model = new ModelShard(0, 9, [1, 2]);
  readonly seen = new Map<string, { version: number; gone: boolean }>();
  lastFrame: SubscribeChangesResponse | undefined;

  constructor() {
    this.state.learnShardCount(1);
  }

  get copy(): ShardCopy {
    return this.state.shards.get(0)?.served ?? this.state.newShard(0).served;
  }

  /** Applies a frame; says whether it was taken. */
  take(frame: SubscribeChangesResponse): boolean {
    const applied = this.state.apply(frame);
    if (applied.outcome === 'refused') {
      this.state.disconnected([0]);
      return false;
    }
    if (applied.rest !== undefined) for (const _ of applied.rest) this.checkVersions();
    this.lastFrame = frame;
    this.checkRows();
    this.checkVersions();
    return true;
  }

  /** R1 at the replica's position. */
  checkRows(): void {
    const { position } = this.copy;
    for (const view of this.model.views) {
      const table = this.copy.tables.get(viewId(view));
      if (table?.whole !== true) continue;
      const expected = this.model.state(view, position);
      for (const key of KEYS) {
        const row = table.rows.get(rowKeyOfText(key));
        const there = row === undefined || row.bytes === '' ? undefined : row;
        const version = expected.get(key);
        if (there === undefined) {
          // Gone, or never there; or gone by a newer record that came early.
          const newer = this.model.records.findLastIndex((r, i) => i >= position && r.view === view && r.key === key);
          expect(version === undefined || version < 0 || newer >= 0).toBe(true);
        } else {
          expect(there.bytes).toBe(toLatin1(countRow(there.version)));
          // A row that is gone at the position may still be here while a catch-up is under way only if it is newer.
          if (version === undefined) expect(there.version).toBeGreaterThanOrEqual(position);
          else if (version < 0) expect(there.version).toBeGreaterThanOrEqual(-version - 1);
          else expect(there.version).toBeGreaterThanOrEqual(version);
        }
      }
    }
  }

  /** R2: a version never goes back, not through a deletion either. */
  checkVersions(): void {
    for (const view of this.model.views) {
      for (const key of KEYS) {
        const table = this.copy.tables.get(viewId(view));
        // Before it is whole, nobody can see it.
        if (table?.whole !== true) continue;
        const row = table.rows.get(rowKeyOfText(key));
        const name = `${view} ${key}`;
        const before = this.seen.get(name) ?? { version: -1, gone: false };
        if (row === undefined || row.bytes === '')
          this.seen.set(name, { version: before.version, gone: before.version >= 0 });
        else {
          expect(row.version).toBeGreaterThanOrEqual(before.version + (before.gone ? 1 : 0));
          this.seen.set(name, { version: row.version, gone: false });
        }
      }
    }
  }

  reopen(way: 'journal' | 'pass', size: number, frames: number): void {
    this.state.disconnected([0]);
    const sent = this.state.cursor(0);
    const from =
      way === 'journal' && sent.position > 0n
        ? this.model.journal(sent, this.model.end, size)
        : this.model.pass(sent, this.model.end, size);
    let left = frames;
    for (const frame of from) {
      if (left-- === 0) {
        this.state.disconnected([0]);
        return;
      }
      expect(this.take(frame)).toBe(true);
    }
  }
}

async function run(
  actions: readonly (typeof arbitraryAction extends fc.Arbitrary<infer A> ? A : never)[],
): Promise<void> {
  const stores = new MemoryDisk();
  const options = {
    stores,
    directory: 'replica',
    onDamage: (what: string) => {
      throw new Error(what);
    },
  };
  let store = await ReplicaStore.open(options);
  await store.load();
  const subject = new Subject();
  const { model } = subject;
  try {
    for (const action of actions) {
      const { position } = subject.copy;
      if (action.do === 'append') model.records.push(...action.records);
      else if (action.do === 'live') {
        if (position > 0) for (const frame of model.live(position, model.end)) expect(subject.take(frame)).toBe(true);
      } else if (action.do === 'reopen') subject.reopen(action.way, action.size, action.frames);
      else if (action.do === 'twice') {
        // Taken as what is known already, or refused; either way nothing changes (checked by take).
        if (subject.lastFrame !== undefined) subject.take(subject.lastFrame);
        expect(subject.copy.position).toBe(position);
      } else if (action.do === 'lose') {
        if (position === 0) continue;
        const from = model.end;
        model.records.push(...action.records);
        if (from === position) continue;
        for (const frame of model.live(from, model.end)) expect(subject.take(frame)).toBe(false);
        expect(subject.copy.position).toBe(position);
      } else if (action.do === 'flush') await store.flush(subject.state);
      else {
        await store.close();
        store = await ReplicaStore.open(options);
        subject.state = await store.load();
        subject.state.learnShardCount(1);
        subject.seen.clear();
        subject.lastFrame = undefined;
        subject.checkRows();
        subject.checkVersions();
      }
    }
    // In the end it catches up, whatever happened.
    if (model.end === 0) return;
    subject.reopen('pass', 3, 1000);
    expect(subject.copy.position).toBe(model.end);
    for (const view of model.views) {
      const rows = [...(subject.copy.tables.get(viewId(view))?.rows ?? [])].filter(([, row]) => row.bytes !== '');
      const expected = [...model.state(view, model.end)].filter(([, version]) => version >= 0);
      expect(new Map(rows.map(([key, row]) => [rowKeyText(key), row.version]))).toEqual(new Map(expected));
    }
  } finally {
    await store.close();
  }
}

describe('applying changes', () => {
  it('R1, R2: rows equal upstream at the replica’s position through duplicates, gaps, passes and crashes', async () => {
    await fc.assert(fc.asyncProperty(fc.array(arbitraryAction, { minLength: 1, maxLength: 40 }), run), {
      numRuns: 120,
    });
  }, 60_000);
});
