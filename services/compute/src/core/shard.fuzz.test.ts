/**
 * Goal: R1, F1 and F3 for the shard and its followers, whatever happens in whatever order, rows that go included.
 * Method: random steps (records of every kind, definitions that bring, drop and bring back views, commits, crashes,
 * subscriptions that come, go and are pulled a frame at a time, with limits so small that tail and journal run out) on
 * real LevelDB with a fold of a few lines, against a replay of the log from its first record. After every frame that
 * moves a cursor, the replica is compared with the replay at that position; at the end, everything with everything.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { fuzzParameters } from '@freshet/testkit/differential/fuzz-options.ts';
import { int64KeyString, keyBytes, keyString } from '@freshet/values/key.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changeRecord, countingRow, definitionsRecord, tickRecord, viewId } from '../testing/counting-fold.ts';
import type { ModelRow } from '../testing/model-replica.ts';
import { type Happening, happenings, inWorld, type Replay, ShardWorld, smallLimits } from '../testing/shard-world.ts';

const ROUTES = 2;
const VIEWS = 4;

type Step =
  | Happening
  | { readonly do: 'append'; readonly changes: readonly { route: number; key: number; operation: Operation }[] }
  | { readonly do: 'define'; readonly views: readonly number[] };

const change = fc.record({
  route: fc.nat(ROUTES - 1),
  key: fc.nat(30),
  operation: fc.constantFrom(Operation.INSERT, Operation.INSERT, Operation.INSERT, Operation.UPDATE, Operation.DELETE),
});
const changes = fc.array(change, { minLength: 1, maxLength: 25 });
const views = fc.uniqueArray(fc.nat(VIEWS - 1), { maxLength: VIEWS });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('append' as const), changes }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('define' as const), views }) },
  ...happenings(views),
);

/** Counts again from the first record. */
class CountingReplay implements Replay {
  readonly records: Uint8Array[] = [];
  readonly routes = new Map<string, number>();

  async rows(id: string, position: number): Promise<Map<string, ModelRow>> {
    const states = new Map<string, { version: number; count: number }>();
    for (const [offset, record] of this.records.slice(0, position).entries()) {
      const { kind } = fromBinary(LogRecordSchema, record);
      if (kind.case !== 'change' || kind.value.route !== this.routes.get(id)) continue;
      const key = keyString(kind.value.entityKey);
      if (kind.value.operation === Operation.DELETE) states.delete(key);
      if (kind.value.operation === Operation.INSERT) {
        states.set(key, { version: offset, count: (states.get(key)?.count ?? 0) + 1 });
      }
    }
    return new Map(
      [...states].map(([key, state]) => [
        key,
        { version: state.version, row: Buffer.from(countingRow(state).bytes).toString('latin1') },
      ]),
    );
  }

  goesFrom(id: string, key: string, position: number): boolean {
    return this.records.slice(position).some((record) => {
      const { kind } = fromBinary(LogRecordSchema, record);
      if (kind.case !== 'change' || kind.value.route !== this.routes.get(id)) return false;
      return kind.value.operation === Operation.DELETE && keyString(kind.value.entityKey) === key;
    });
  }
}

async function live(world: ShardWorld, replay: CountingReplay, steps: readonly Step[]): Promise<void> {
  let generation = 0;
  const append = async (records: readonly Uint8Array[]): Promise<void> => {
    replay.records.push(...records);
    await world.append(records);
  };
  for (const next of steps) {
    if (next.do === 'append') {
      await append(next.changes.map((c) => changeRecord(c.route, keyBytes(int64KeyString(c.key)), c.operation)));
    } else if (next.do === 'define') {
      generation += 1;
      for (const n of next.views) replay.routes.set(viewId(n), n % ROUTES);
      await append([
        definitionsRecord(
          generation,
          next.views.map((n) => ({ n, route: n % ROUTES })),
        ),
      ]);
    } else {
      await world.happen(next);
    }
  }
  await world.finish();
}

describe('a shard and its followers', () => {
  it('R1, F1, F3: any steps in any order leave every follower with exactly the rows of the fold', async () => {
    let pages = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 5, maxLength: 80, size: 'max' }),
        smallLimits,
        async (steps, limits) => {
          await inWorld({ limits }, async (rig) => {
            const replay = new CountingReplay();
            const tick = (): Uint8Array => {
              const record = tickRecord();
              replay.records.push(record);
              return record;
            };
            const world = new ShardWorld(rig, replay, { viewIdOf: viewId, tick });
            await live(world, replay, steps);
            pages += world.pages;
          });
        },
      ),
      fuzzParameters(40),
    );
    expect(pages).toBeGreaterThan(0);
  });
});
