/**
 * Random histories of one table, as a database would have them: inserts, updates (also of the key by which rows are
 * told apart, and of the column that says whose row it is), deletes, truncations. Each is told twice: as records of a
 * log, as ingest writes them, and as images in a table that SQL can ask.
 *
 * Owns both tellings. Knows nothing of features; shares no code with the generator of packages/testkit/src/generate.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { encodeKey } from '@freshet/values/key.ts';
import { valueToProto } from '@freshet/values/value-codec.ts';
import fc from 'fast-check';

/** The columns of the table, in the order in which records have them; `at` is the event's time. */
export const COLUMNS = [
  { name: 'id', kind: Kind.INT64, sql: 'BIGINT' },
  { name: 'user_id', kind: Kind.INT64, sql: 'BIGINT' },
  { name: 'n', kind: Kind.INT64, sql: 'BIGINT' },
  { name: 'x', kind: Kind.DOUBLE, sql: 'FLOAT8' },
  { name: 'd', kind: Kind.DECIMAL, sql: 'DECIMAL(18, 2)' },
  { name: 's', kind: Kind.STRING, sql: 'VARCHAR' },
  { name: 'at', kind: Kind.TIMESTAMP, sql: 'BIGINT' },
] as const;

export interface Image {
  readonly id: bigint;
  readonly user_id: bigint;
  readonly n: bigint | null;
  readonly x: number | null;
  readonly d: string | null;
  readonly s: string | null;
  /** Microseconds. */
  readonly at: bigint;
}

/** What was known of a row from an offset of the log on. */
export interface KnownImage {
  readonly off: number;
  /** Which row: of an append source every row is its own. */
  readonly row: bigint;
  /** Undefined: the row is gone. */
  readonly image: Image | undefined;
}

export interface DmlHistory {
  readonly records: readonly { readonly logTimeUs: number; readonly record: Uint8Array }[];
  readonly images: readonly KnownImage[];
  /** The positions of the log at which a statement has been told whole: a row that moves to another user is two records. */
  readonly cuts: readonly number[];
}

export interface Statement {
  readonly kind: 'insert' | 'update' | 'move' | 'rename' | 'delete' | 'truncate';
  /** Which row: modulo those there are. */
  readonly row: number;
  readonly user: number;
  readonly n: number | null;
  readonly x: number | null;
  readonly d: number | null;
  readonly s: string | null;
  /** The event's time before the statement's, in seconds. */
  readonly lateS: number;
  /** How long after the statement before, in seconds. */
  readonly stepS: number;
}

const nullable = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> =>
  fc.option(arbitrary, { freq: 6, nil: null });

/** Statements of any kind, or inserts only. */
export function statements(mode: 'append' | 'mutable'): fc.Arbitrary<Statement[]> {
  const kinds =
    mode === 'append'
      ? fc.constant('insert' as const)
      : fc.oneof(
          { weight: 8, arbitrary: fc.constant('insert' as const) },
          { weight: 5, arbitrary: fc.constant('update' as const) },
          { weight: 2, arbitrary: fc.constant('move' as const) },
          { weight: 1, arbitrary: fc.constant('rename' as const) },
          { weight: 3, arbitrary: fc.constant('delete' as const) },
          { weight: 1, arbitrary: fc.constant('truncate' as const) },
        );
  return fc.array(
    fc.record({
      kind: kinds,
      row: fc.nat(100),
      user: fc.integer({ min: 1, max: 3 }),
      n: nullable(fc.integer({ min: -1000, max: 1000 })),
      x: nullable(
        fc.oneof(
          fc.integer({ min: -100, max: 100 }).map((cents) => cents / 10),
          fc.constantFrom(0.1, 1e6),
        ),
      ),
      d: nullable(fc.integer({ min: -100_000, max: 100_000 })),
      s: nullable(fc.constantFrom('a', 'b', 'ab', '')),
      lateS: fc.oneof(fc.nat(3), fc.integer({ min: -5, max: 90 })),
      stepS: fc.oneof(fc.nat(2), fc.nat(40)),
    }),
    { minLength: 1, maxLength: 40 },
  );
}

const START_US = 1_750_000_000_000_000n;
const SECOND_US = 1_000_000n;

/** Tells the statements both ways; `mutable`: rows have a key by which later statements mean them. */
export function tell(list: readonly Statement[], definitions: DefinitionSet, mode: 'append' | 'mutable'): DmlHistory {
  const records: { logTimeUs: number; record: Uint8Array }[] = [];
  const images: KnownImage[] = [];
  const cuts: number[] = [];
  const live = new Map<bigint, Image>();
  let nowUs = START_US;
  let nextId = 1n;
  let lsn = 100n;
  const push = (kind: Parameters<typeof create<typeof LogRecordSchema>>[1]): number => {
    records.push({ logTimeUs: Number(nowUs), record: toBinary(LogRecordSchema, create(LogRecordSchema, kind)) });
    return records.length - 1;
  };
  const change = (operation: Operation, owner: bigint, image: Image | undefined, id: bigint, more: Change): number =>
    push({
      kind: {
        case: 'change',
        value: {
          route: 1,
          generation: 1,
          lane: 2,
          sequence: { major: lsn, minor: 0n, part: more.part ?? 0 },
          operation,
          entityKey: encodeKey([Kind.INT64], [owner]),
          contractVersion: 1,
          row: image === undefined ? [] : COLUMNS.map(({ name, kind }) => valueToProto({ kind } as never, image[name])),
          ...(image === undefined ? {} : { eventTimeUs: image.at }),
          ...(mode === 'mutable' ? { rowKey: rowKeyOf(id) } : {}),
          ...(more.oldId === undefined ? {} : { oldRowKey: rowKeyOf(more.oldId) }),
        },
      },
    });
  push({ kind: { case: 'definitions', value: definitions } });
  push({ kind: { case: 'routeBegin', value: { route: 1, generation: 1 } } });
  push({ kind: { case: 'snapshotEnd', value: { route: 1, generation: 1 } } });
  for (const statement of list) {
    nowUs += BigInt(statement.stepS) * SECOND_US;
    lsn += 8n;
    const target = [...live.values()][statement.row % Math.max(1, live.size)];
    if (statement.kind === 'truncate') {
      const off = push({
        kind: { case: 'truncate', value: { route: 1, generation: 1, lane: 2, sequence: { major: lsn } } },
      });
      for (const id of live.keys()) images.push({ off, row: id, image: undefined });
      live.clear();
    } else if (statement.kind === 'insert' || target === undefined) {
      const id = nextId++;
      const image = imageOf(statement, id, BigInt(statement.user), nowUs);
      live.set(id, image);
      images.push({ off: change(Operation.INSERT, image.user_id, image, id, {}), row: id, image });
    } else if (statement.kind === 'delete') {
      live.delete(target.id);
      images.push({
        off: change(Operation.DELETE, target.user_id, undefined, target.id, {}),
        row: target.id,
        image: undefined,
      });
    } else {
      // Of a row whose key changes, what was known under the old one is gone.
      const id = statement.kind === 'rename' ? nextId++ : target.id;
      const owner = statement.kind === 'move' ? BigInt(statement.user) : target.user_id;
      const image = imageOf(statement, id, owner, nowUs);
      const renamed = id === target.id ? {} : { oldId: target.id };
      const moves = owner !== target.user_id;
      const off = change(Operation.UPDATE, owner, image, id, renamed);
      const last = moves ? change(Operation.DELETE, target.user_id, undefined, target.id, { part: 1 }) : off;
      live.delete(target.id);
      live.set(id, image);
      // Two entities of one partition: the record under the old key comes after the one under the new.
      images.push({ off, row: id, image });
      if (id !== target.id) images.push({ off: last, row: target.id, image: undefined });
    }
    cuts.push(records.length);
  }
  return { records, images, cuts };
}

interface Change {
  readonly part?: number;
  readonly oldId?: bigint;
}

function rowKeyOf(id: bigint): Uint8Array {
  return encodeKey([Kind.INT64], [id]);
}

function imageOf({ n, x, d, s, lateS }: Statement, id: bigint, user_id: bigint, nowUs: bigint): Image {
  return {
    id,
    user_id,
    n: n === null ? null : BigInt(n),
    x,
    d: d === null ? null : (d / 100).toFixed(2),
    s,
    at: nowUs - BigInt(lateS) * SECOND_US,
  };
}
