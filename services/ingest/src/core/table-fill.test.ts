/**
 * Goal: rows of a table whose values were computed anew are held where somebody reads the column, until a contract knows it; under
 * one that does they are released, whatever shape of before they came in, and later news holds again.
 * Method: two fillings of a table compared; news given to the pure change stream, whose entries are released as a release would.
 */
import { create } from '@bufbuild/protobuf';
import { ChangePolicy } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { describe, expect, it } from 'vitest';
import { Batch } from './batch.ts';
import { ChangeStream } from './change-stream.ts';
import { EarlierDecisions } from './earlier-decisions.ts';
import type { LiveRoute } from './live-route.ts';
import type { Relation } from './pgoutput/messages.ts';
import type { QuarantineEntry } from './quarantine.ts';
import { releaseEntry } from './release.ts';
import { prepareRoute } from './route.ts';
import { type ColumnValues, isSeen, rewrittenColumns, type TableFill, withValues } from './table-fill.ts';

const INT4 = 23;
const INT8 = 20;
const SINCE_US = 1_000;
const V = { number: 2, name: 'v' };

/** Version 1 has an int4; `sinceUs`: since when its values are known to be others. */
function routeOf(
  version: number,
  typeOid: number,
  sinceUs: number,
  policy: ChangePolicy = ChangePolicy.EVOLVE,
  read = ['id', 'v'],
) {
  const typed = (name: string, columnNumber: number, oid: number) => ({
    ...{ name, type: { kind: Kind.INT64 }, sourceTypeModifier: -1, tableOid: 7, columnNumber },
    ...{ sourceTypeOid: oid, sourceType: oid === INT4 ? 'integer' : 'bigint' },
  });
  const columns = [typed('id', 1, INT8), { ...typed('v', 2, typeOid), valuesSinceUs: BigInt(sinceUs) }];
  const plan = create(RoutePlanSchema, {
    route: 1,
    source: {
      ...{ name: 's', mode: 1, policy },
      origin: { case: 'postgres', value: { database: 'shop', schema: 'public', table: 't' } },
      contract: { version, columns },
    },
    entity: { name: 'e', key: [{ name: 'id', kind: Kind.INT64 }] },
    keyColumns: ['id'],
  });
  return prepareRoute(plan, 1, 1, EarlierDecisions.NONE, undefined, { read: new Set(read) });
}

const live = (route: LiveRoute['route'], more: Partial<LiveRoute> = {}): LiveRoute => ({
  ...{ route, earlier: [], tableOid: 7, floor: { version: 1, lsn: 0n }, fromLsn: 0n },
  ...more,
});

const relation = (typeOid: number): Relation => ({
  ...{ id: 7, schema: 'public', table: 't', replicaIdentity: 'd' },
  columns: [
    { name: 'id', typeOid: INT8, typeModifier: -1, identity: true },
    { name: 'v', typeOid, typeModifier: -1, identity: false },
  ],
});

/** Commits of one row each; resolves with what of them is told, and what is held. */
function feed(stream: ChangeStream, typeOid: number, commits: readonly number[]) {
  stream.handle({ kind: 'relation', relation: relation(typeOid) }, 0);
  for (const major of commits) {
    const commitLsn = BigInt(major);
    stream.handle({ kind: 'begin', commitLsn, commitTimeUs: 0, xid: major }, 0);
    stream.handle({ kind: 'insert', relationId: 7, row: [String(major), '5'] }, 0);
    stream.handle({ kind: 'commit', commitLsn, endLsn: commitLsn + 1n, commitTimeUs: 0 }, 0);
  }
  const batch = stream.takeBatch();
  return { rows: batch.count, held: batch.quarantine };
}

const words = (entries: readonly QuarantineEntry[]): string[] =>
  entries.map(({ major, reason, held }) => `${major} ${reason} ${held}`);

function release(under: LiveRoute, entries: readonly QuarantineEntry[], values: readonly ColumnValues[]) {
  const batch = new Batch();
  const settings = { lane: 3, nowUs: 0, values, unchanged: () => undefined, batch };
  return entries.map((entry) => releaseEntry(under, entry, settings)?.reason ?? 'released');
}

const known = withValues([], [V], SINCE_US);

describe('rows of values that were computed anew', () => {
  it.each<[string, number]>([
    ['of the same type', INT4],
    ['of a wider type', INT8],
  ])('C1: are held from the news on, %s, and released once under the contract that knows', (_, now) => {
    const stream = new ChangeStream([live(routeOf(1, INT4, 0))]);
    expect(feed(stream, INT4, [1])).toEqual({ rows: 1, held: [] });
    stream.noteValues(1, known);
    const { rows, held } = feed(stream, now, [2, 3]);
    expect([rows, words(held)]).toEqual([0, ['2 values table', '3 behind table']]);
    expect(held[0]?.detail).toMatch(/values of column v are others/);
    // What the stream cannot show is told to the registry, which keeps it as a shape that nobody accepted.
    expect(stream.takeShown().at(-1)?.contract.columns[1]?.valuesSinceUs).toBe(BigInt(SINCE_US));
    expect(release(live(routeOf(1, INT4, 0)), held, known)[0]).toBe('values');
    const accepted = live(routeOf(2, now, SINCE_US), { earlier: [routeOf(1, INT4, 0)] });
    expect(release(accepted, held, known)).toEqual(['released', 'released']);
    stream.revise(() => accepted);
    stream.letFlow(1);
    expect(feed(stream, now, [4])).toEqual({ rows: 1, held: [] });
    // Again: what was accepted is the change before.
    const again = withValues(known, [V], SINCE_US);
    stream.noteValues(1, again);
    expect(words(feed(stream, now, [5]).held)).toEqual(['5 values table']);
    expect(release(accepted, held, again)[0]).toBe('values');
  });

  it('C1: of before the change, which the catalog tells too early, are released under their own contract', () => {
    const stream = new ChangeStream([live(routeOf(1, INT4, 0), { values: known })]);
    const { held } = feed(stream, INT4, [1]);
    expect(words(held)).toEqual(['1 values table']);
    const accepted = live(routeOf(2, INT8, SINCE_US), { earlier: [routeOf(1, INT4, 0)] });
    expect(release(accepted, held, known)).toEqual(['released']);
  });

  it('C1, F3: of a transaction of which some passed before a stop pass again up to those, and are held behind them', () => {
    const place = { route: 1, generation: 1, lane: 2, major: 5n, minor: 1, part: 0 };
    const newest = { aside: new Set<string>(), newestAlone: undefined, newestAside: undefined };
    const decisions = new EarlierDecisions({ lane: 2, ...newest, inLog: new Map([[0, place]]) });
    const stream = new ChangeStream([live({ ...routeOf(1, INT4, 0), decisions }, { values: known })]);
    const row = (id: string) => ({ kind: 'insert', relationId: 7, row: [id, '5'] }) as const;
    stream.handle({ kind: 'begin', commitLsn: 5n, commitTimeUs: 0, xid: 5 }, 0);
    stream.handle({ kind: 'relation', relation: relation(INT4) }, 0);
    for (const id of ['1', '2']) stream.handle(row(id), 0);
    // The same transaction computes values anew here, and goes on.
    stream.handle({ kind: 'relation', relation: relation(INT4) }, 0);
    for (const id of ['3', '4']) stream.handle(row(id), 0);
    const batch = stream.takeBatch();
    expect([batch.count, words(batch.quarantine)]).toEqual([2, ['5 values table', '5 behind table']]);
  });

  it('pass where nobody reads the column, and where the policy only tells', () => {
    const unread = new ChangeStream([live(routeOf(1, INT4, 0, ChangePolicy.STRICT, ['id']), { values: known })]);
    expect(feed(unread, INT4, [1])).toEqual({ rows: 1, held: [] });
    const told = new ChangeStream([live(routeOf(1, INT4, 0, ChangePolicy.NOTIFY), { values: known })]);
    expect(feed(told, INT4, [1])).toEqual({ rows: 1, held: [] });
    expect(told.takeShown()[0]?.notes).toEqual([expect.stringMatching(/values of column v are others/)]);
  });
});

it('knows which transactions a snapshot sees, also where the 32 bits of their ids begin again', () => {
  const snapshot = '100:105:100,103';
  expect([99, 100, 101, 103, 104, 105, 106].filter((xid) => isSeen(snapshot, xid))).toEqual([99, 101, 104]);
  const wrapped = `${2 ** 32 - 2}:${2 ** 32 + 3}:${2 ** 32 - 2},${2 ** 32 + 1}`;
  expect([2 ** 32 - 3, 2 ** 32 - 2, 2 ** 32 - 1, 0, 1, 2, 3].filter((xid) => isSeen(wrapped, xid))).toEqual([
    2 ** 32 - 3,
    2 ** 32 - 1,
    0,
    2,
  ]);
});

describe('a filling of a table', () => {
  const fill = (file: string, version: string): TableFill => ({
    file,
    columns: [
      [1, 'id', '3'],
      [2, 'v', version],
    ],
  }); // prettier-ignore

  it('is of other values when the file and the catalog row of a column are others', () => {
    expect(rewrittenColumns(fill('1', 'a'), fill('2', 'b'))).toEqual([V]);
    expect(rewrittenColumns(fill('1', 'a'), fill('2', 'a'))).toEqual([]);
    expect(rewrittenColumns(fill('1', 'a'), fill('1', 'b'))).toEqual([]);
  });

  it('keeps the newest time of each column, which is later than all before, whatever the clock says', () => {
    const other = { number: 3, name: 'w' };
    const first = withValues([], [V, other], 10);
    expect(withValues(first, [V], 5)).toEqual([
      { ...other, sinceUs: 10 },
      { ...V, sinceUs: 11 },
    ]);
  });
});
