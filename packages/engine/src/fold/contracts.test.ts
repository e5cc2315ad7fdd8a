/**
 * Goal: a row is read by the contract that it was captured under, whenever it is folded. Method: a table changes its
 * layout in the middle of a log, columns of one type changing places; a view folds it live, another is built over it
 * later, with restarts at every record. A column is renamed likewise, known by its number.
 */

import { clone, create } from '@bufbuild/protobuf';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { type Contract, ContractSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { encodeKey } from '@freshet/values/key.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { valueToProto } from '@freshet/values/value-codec.ts';
import { describe, expect, it } from 'vitest';
import { decodeRow } from '../rows/row-codec.ts';
import { type FoldEntry, ShardFold } from '../shard-fold.ts';
import {
  definitions,
  encodeRecord,
  feature,
  LIFETIME,
  MemoryCold,
  START_US,
  TestLog,
  type,
  userKey,
  view,
  viewHex,
} from '../testing/plans.testing.ts';

const KINDS: Readonly<Record<string, Kind>> = { n: Kind.INT64, m: Kind.INT64, s: Kind.STRING, x: Kind.DOUBLE };

function contract(version: number, columns: readonly string[], kinds = KINDS): Contract {
  return create(ContractSchema, {
    version,
    columns: columns.map((name) => ({ name, type: type(kinds[name] ?? Kind.INT64), nullable: true })),
  });
}

/** `n` and `m` change places, and `x` was a text before it was a number. */
const OLD = contract(1, ['n', 'm', 'x'], { ...KINDS, x: Kind.STRING });
const NEW = contract(2, ['s', 'm', 'x', 'n']);

const SUMS = [feature('n', 'sum', 'n', LIFETIME), feature('x', 'count', 'x', LIFETIME)];
const LIVE = view(SUMS, { id: 1 });
const BUILT = view([...SUMS, feature('all', 'count', '', LIFETIME)], { id: 2 });

function define(generation: number, views: readonly ReturnType<typeof view>[], current: Contract): Uint8Array {
  const value = create(DefinitionSetSchema, definitions(generation, views));
  for (const { source } of value.routes) source!.contract = current;
  return encodeRecord({ case: 'definitions', value });
}

function row(sequence: number, { version, columns }: Contract, values: Readonly<Record<string, Scalar>>): Uint8Array {
  return encodeRecord({
    case: 'change',
    value: {
      route: 1,
      generation: 1,
      lane: 2,
      sequence: { major: BigInt(sequence) },
      operation: Operation.INSERT,
      entityKey: encodeKey([Kind.INT64], [1n]),
      contractVersion: version,
      row: columns.map(({ name, type: columnType }) => valueToProto(columnType!, values[name] ?? null)),
    },
  });
}

function logOf(records: readonly Uint8Array[]): TestLog {
  const log = new TestLog();
  for (const record of records) log.append(START_US, record);
  return log;
}

const CHANGED = logOf([
  define(1, [LIVE], OLD),
  encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }),
  encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }),
  row(1, OLD, { n: 1n, m: 1000n, x: 'text' }),
  row(2, OLD, { n: 20n, m: 1000n, x: null }),
  define(2, [LIVE, BUILT], NEW),
  row(3, NEW, { n: 300n, m: 1000n, x: 1.5 }),
  // A backlog of the source has the shape of before.
  row(4, OLD, { n: 4000n, m: 1000n, x: 'text' }),
]);

function values(fold: ShardFold, id: number): unknown {
  const bytes = fold.row(viewHex(id), userKey(1))?.bytes;
  return bytes && decodeRow(bytes).timelines.flatMap(({ columns }) => columns.map((column) => column.values));
}

/** Folds the log and then the view's build, with a restart behind each record. */
function foldAll(log: TestLog, id: number): ShardFold {
  const cold = new MemoryCold();
  const commit = (fold: ShardFold): ShardFold => {
    const { puts, meta } = fold.takeCommit();
    cold.put(puts);
    return new ShardFold({ cold, cacheBytes: 0, meta });
  };
  let fold = new ShardFold({ cold, cacheBytes: 0 });
  for (const entry of log.entries) {
    fold.fold([entry]);
    fold = commit(fold);
  }
  for (let at = fold.builds()[0]?.position; at !== undefined; at = fold.builds()[0]?.position) {
    fold.foldBuild(viewHex(id), [log.entries[at] as FoldEntry]);
    fold = commit(fold);
  }
  return fold;
}

/** The contract with its columns' numbers in a table. */
function numbered(of: Contract, numbers: readonly number[], tableOid = 7): Contract {
  const next = clone(ContractSchema, of);
  for (const [i, column] of next.columns.entries()) Object.assign(column, { tableOid, columnNumber: numbers[i] ?? 0 });
  return next;
}

describe('contracts', () => {
  it('F1: a build reads old rows as the live fold did, also after restarts', () => {
    const fold = foldAll(CHANGED, 2);
    expect(fold.completeViews()).toEqual([viewHex(1), viewHex(2)]);
    expect(values(fold, 1)).toEqual([[4321], [1]]);
    expect(values(fold, 2)).toEqual([[4321], [1], [4]]);
    expect(fold.stats().unknownContracts).toBe(0);
  });

  const before = contract(1, ['m', 'v']);
  const after = contract(2, ['n', 'm']);
  const texts = contract(1, ['m', 'v'], { v: Kind.STRING });
  it.each<[string, Contract, Contract, number]>([
    ['is found under the name of then', numbered(before, [1, 2]), numbered(after, [2, 1]), 4321],
    ['is another one when its number is', numbered(before, [1, 2]), numbered(after, [3, 1]), 300],
    ['is another one in another table', numbered(before, [1, 2]), numbered(after, [2, 1], 8), 300],
    ['is not known where numbers are not', before, numbered(after, [2, 1]), 300],
    ['has no value of another type', numbered(texts, [1, 2]), numbered(after, [2, 1]), 300],
  ])('F1: a renamed column %s', (_, was, is, sum) => {
    const count = view([feature('all', 'count', '', LIFETIME)], { id: 1 });
    const summed = view([feature('n', 'sum', 'n', LIFETIME), feature('rows', 'count', '', LIFETIME)], { id: 2 });
    const isText = was.columns[1]?.type?.kind === Kind.STRING;
    const old = (v: bigint): Readonly<Record<string, Scalar>> => ({ m: 1000n, v: isText ? String(v) : v });
    const log = logOf([
      // The numbers of a contract's columns may come to be told.
      define(1, [count], isText ? texts : before),
      encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }),
      encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }),
      row(1, was, old(1n)),
      define(2, [count], was),
      row(2, was, old(20n)),
      define(3, [count, summed], is),
      row(3, is, { n: 300n, m: 1000n }),
      row(4, was, old(4000n)),
    ]);
    const fold = foldAll(log, 2);
    expect(values(fold, 2)).toEqual([[sum], [4]]);
  });
});
