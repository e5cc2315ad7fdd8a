/**
 * Goal: what the stream tells in passing of a table's partitions is what is kept of it: which ones rows came out of, by commit, and
 * which transactions truncated the table; a bounded number of them.
 * Method: messages as pgoutput sends them under publish_via_partition_root.
 */
import { expect, it } from 'vitest';
import { PartTells } from './part-tells.ts';
import type { PgOutputMessage } from './pgoutput/messages.ts';
import type { RouteState } from './source-state.ts';
import { withTold } from './told-parts.ts';

const begin = (xid: number): PgOutputMessage => ({ kind: 'begin', commitLsn: BigInt(xid * 10), commitTimeUs: 0, xid });
const relation = (id: number): PgOutputMessage => ({
  kind: 'relation',
  relation: { id, schema: 'public', table: `t${id}`, replicaIdentity: 'd', columns: [] },
});
const insert = (relationId: number): PgOutputMessage => ({ kind: 'insert', relationId, row: [] });
const truncate = (id: number): PgOutputMessage => ({
  kind: 'truncate',
  relationIds: [id],
  cascade: false,
  restartIdentity: false,
});

it('knows the partitions that rows of a table came out of, from a commit on', () => {
  const tells = new PartTells();
  const messages = [begin(1), relation(7), relation(71), insert(7), insert(7), relation(8), insert(8)];
  for (const message of [...messages, begin(2), relation(7), relation(72), insert(7)]) tells.take(message);
  expect([...tells.leavesOf(7, 0n)]).toEqual([71, 72]);
  expect([...tells.leavesOf(7, 11n)]).toEqual([72]);
  expect([...tells.leavesOf(8, 0n)]).toEqual([]);
});

it('takes what was described for a row that never came for no partition of another table, and knows whose rows came as another', () => {
  const tells = new PartTells();
  // Postgres 14, of a DELETE without an old row.
  const dropped = [relation(7), relation(71)];
  for (const message of [
    begin(1),
    ...dropped,
    relation(8),
    insert(8),
    ...dropped,
    relation(9),
    relation(91),
    insert(9),
  ])
    tells.take(message);
  expect([7, 8, 9].map((table) => [...tells.leavesOf(table, 0n)])).toEqual([[], [], [91]]);
  const asked = [
    [91, 91, 10n],
    [91, 91, 11n],
    [9, 91, 0n],
    [9, 9, 0n],
    [7, 71, 0n],
  ] as const;
  expect(asked.map(([table, leaf, fromLsn]) => tells.isToldAsAnother(table, leaf, fromLsn))).toEqual([
    true,
    false,
    false,
    false,
    false,
  ]);
});

it('knows the newest transactions that truncated a table, and takes none of its relations for a partition', () => {
  const tells = new PartTells();
  for (let xid = 1; xid <= 101; xid++)
    for (const message of [begin(xid), relation(7), truncate(7)]) tells.take(message);
  for (const message of [begin(102), relation(8), insert(8)]) tells.take(message);
  expect([1, 2, 101, 102].map((xid) => tells.isTruncatedBy(7, xid))).toEqual([false, true, true, false]);
  expect(tells.isTruncatedBy(8, 101)).toBe(false);
  expect([...tells.leavesOf(8, 0n), ...tells.leavesOf(7, 0n)]).toEqual([]);
});

it('has what was told of partitions outlive it in the state, until a look has seen them', () => {
  const tells = new PartTells();
  const row = (root: number, leaf: number): PgOutputMessage[] => [relation(root), relation(leaf), insert(root)];
  for (const message of [begin(1), ...row(7, 71), ...row(7, 72)]) tells.take(message);
  const about = { route: 1, generation: 1, phase: 'live', fromLsn: 0n, stage: '', tableOid: 7 } as const;
  const parts = { endedBelow: '1', leaves: [[71, 71, '1']] } as const;
  const route: RouteState = { ...about, contractVersion: 1, contractLsn: 0n, parts };
  const told = withTold(route, tells);
  expect(told).toEqual({ ...route, unseen: [72] });
  // Another connection tells nothing of it.
  const later = new PartTells();
  expect(withTold(told, later)).toEqual(told);
  const seen = { ...parts, leaves: [...parts.leaves, [72, 72, '1']] } as const;
  expect(withTold({ ...told, parts: seen }, later).unseen).toEqual([]);
  for (const untouched of [
    { ...route, parts: seen },
    { ...route, fromLsn: 11n },
    { ...route, phase: 'ended' as const },
  ])
    expect(withTold(untouched, tells)).toBe(untouched);
  for (const message of [begin(2), ...row(8, 71)]) tells.take(message);
  expect(withTold(route, tells).torn).toContain('came as those of another table');
  expect(withTold({ ...route, tableOid: 72, parts: undefined }, tells).torn).toBeDefined();
});
