/**
 * Goal: a schema that imports gave several ids has one of them for whoever registers it next, the same whatever was
 * deleted and in whatever order it was read. Method: the index, fed with records as they are stored.
 */
import { expect, it } from 'vitest';
import { fingerprintOf, guidOf, type Row } from './entity.ts';
import type { StoredRecord } from './records.ts';
import { SchemaIndex } from './schema-index.ts';

const entity = { schemaType: 'AVRO', schema: '"int"', references: [] } as const;
const fingerprint = fingerprintOf(entity);
const row = (subject: string, id: number): Row => ({
  subject,
  version: 1,
  id,
  guid: guidOf(entity),
  fingerprint,
  entity,
  deleted: false,
  ts: 1,
});
const kept = (subject: string, id: number): StoredRecord => ({
  kind: 'SCHEMA',
  subject,
  version: 1,
  row: row(subject, id),
});
const gone = (subject: string): StoredRecord => ({ kind: 'SCHEMA', subject, version: 1, row: undefined });

function idOf(...records: readonly StoredRecord[]): number | undefined {
  const index = new SchemaIndex();
  for (const record of records) index.apply(record);
  return index.idOf('.', fingerprint);
}

it('takes the least id of a schema, in whatever order they came', () => {
  expect(idOf(kept('a', 7), kept('b', 5), kept('c', 9))).toBe(5);
  expect(idOf(kept('c', 9), kept('b', 5), kept('a', 7))).toBe(5);
});

it('falls back to an id that is still there when the others went for good, and to none when all did', () => {
  expect(idOf(kept('a', 7), kept('b', 5), kept('c', 5), gone('b'))).toBe(5);
  expect(idOf(kept('a', 7), kept('b', 5), gone('b'))).toBe(7);
  expect(idOf(kept('a', 7), kept('b', 5), gone('a'), gone('b'))).toBeUndefined();
  expect(idOf(kept('a', 7), gone('a'), kept('a', 7))).toBe(7);
});

it('takes no second schema under an id, and is then as it was', () => {
  const other = { schemaType: 'AVRO', schema: '"long"', references: [] } as const;
  const wrong: StoredRecord = {
    kind: 'SCHEMA',
    subject: 'a',
    version: 1,
    row: { ...row('a', 5), entity: other, guid: guidOf(other), fingerprint: fingerprintOf(other) },
  };
  const index = new SchemaIndex();
  for (const record of [kept('a', 7), kept('b', 5)]) index.apply(record);
  const state = () => [
    index.rowsOf('a'),
    index.rowsById('.', 5),
    index.rowsById('.', 7),
    index.rowsByGuid(guidOf(entity)),
  ];
  const before = structuredClone([...state(), index.rows, index.characters]);
  expect(() => index.apply(wrong)).toThrow('an id stands for one schema');
  expect([...state(), index.rows, index.characters]).toEqual(before);
  // Its last row is gone: whoever imports may say what it stands for.
  for (const record of [gone('b'), wrong]) index.apply(record);
  expect(index.entityOf('.', 5)?.entity).toEqual(other);
});
