/**
 * Goal: reads are right across versions and steps, and what they keep is bounded.
 * Method: a table of rows read in turns, with a cache of a few steps.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { RowSchema } from '@freshet/gen/freshet/type/v1/row_pb.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toLatin1 } from './latin1.ts';
import { countRow, countView } from './replica.testing.ts';
import { RowBatch } from './row-batch.ts';
import type { RowKey } from './row-key.ts';
import { rowLayout } from './row-layout.ts';
import { RowReader, STEP_BYTES } from './row-reader.ts';
import { Step } from './row-step.ts';
import { ViewTable } from './view-table.ts';

const layout = rowLayout(countView(1));
const texts = rowLayout(
  create(ViewPlanSchema, {
    features: [
      { name: 'page', aggregate: 'last', inputType: { kind: Kind.STRING }, resultType: { kind: Kind.STRING } },
    ],
  }),
);

describe('RowReader', () => {
  it('R4: keeps at most twice its limit of steps', () => {
    const reader = new RowReader(10);
    const table = new ViewTable('', 1);
    for (let i = 0; i < 100; i++) table.put(`k${i}`, i, toLatin1(countRow(i)));
    for (let turn = 0; turn < 3; turn++) {
      for (let i = 0; i < 100; i++) {
        expect(reader.read(table, layout, `k${i}`, 5).value(0)).toBe(i);
        // A row that is read all the time keeps its step.
        const step = reader.read(table, layout, 'k7', 5);
        if (turn > 0 || i > 0) expect(step).toBe(table.rows.get('k7')?.step);
      }
    }
    expect([...table.rows.values()].filter((row) => row.step !== undefined).length).toBeLessThanOrEqual(20);
    expect(reader.size).toBeLessThanOrEqual(20);
  });

  it('R2: a newer version is read at once, an older one never', () => {
    const reader = new RowReader();
    const table = new ViewTable('', 1);
    table.put('k', 4, toLatin1(countRow(4)));
    expect(reader.read(table, layout, 'k', 0).version).toBe(4);
    table.put('k', 3, toLatin1(countRow(3)));
    expect(reader.read(table, layout, 'k', 0).version).toBe(4);
    table.put('k', 9, toLatin1(countRow(9)));
    expect(reader.read(table, layout, 'k', 0).value(0)).toBe(9);
    table.put('k', 10, '');
    expect(reader.read(table, layout, 'k', 0)).toBe(layout.empty);
    table.put('k', 9, toLatin1(countRow(9)));
    expect(reader.read(table, layout, 'k', 0)).toBe(layout.empty);
  });

  it('R2: reads many keys as it reads each, and tells whether all is there', () => {
    const tables = [new ViewTable('', 1), new ViewTable('', 2)];
    for (let i = 0; i < 30; i += 3) tables[i % 2]?.put(i, i, toLatin1(countRow(i)));
    const reader = new RowReader(4);
    const batch = new RowBatch();
    // Backwards too: what is left of a longer batch is not in a shorter one.
    for (const count of [30, 7, 0, 12]) {
      const keys = Array.from({ length: count }, (_, i) => i);
      // The last keys are in a shard that is not there.
      const shards = keys.map((key) => (key > 20 ? 9 : key % 2));
      reader.readAll(batch, { tables, layout }, { keys, shards }, 5);
      const each = keys.map((key, i) => {
        const table = tables[shards[i] as number];
        return table === undefined ? layout.empty : reader.read(table, layout, key, 5);
      });
      expect(batch.steps.map((step) => [step.version, step.value(0)])).toEqual(
        each.map((step) => [step.version, step.value(0)]),
      );
      expect(batch.numbers).toEqual(each.map((step) => step.numbers));
      expect(batch.allPresent).toBe(each.every((step) => step.allPresent));
      expect(batch.allNumbers).toBe(each.every((step) => step.others === undefined));
    }
  });

  it('R2: reads a batch as it reads each key: repeated, dead, missing, kept from an earlier turn or of another time', () => {
    const table = new ViewTable('', 1);
    for (let i = 0; i < 150; i++) table.put(i, i, toLatin1(countRow(i)));
    for (let i = 0; i < 150; i += 7) table.put(i, i + 1, '');
    const reader = new RowReader(20);
    const batch = new RowBatch();
    const key = fc.integer({ min: 0, max: 170 });
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.array(key, { maxLength: 200 }), fc.nat(9)), { maxLength: 4 }), (reads) => {
        for (const [keys, tUs] of reads) {
          const rows = { keys, shards: keys.map(() => 0) };
          reader.readAll(batch, { tables: [table], layout }, rows, tUs);
          for (const [i, step] of batch.steps.entries()) {
            const k = keys[i] as number;
            const there = k < 150 && k % 7 !== 0;
            expect([step.version, step.value(0)]).toEqual(there ? [k, k] : [-1, 0]);
            expect(batch.numbers[i]).toBe(step.numbers);
          }
          expect(reader.size).toBeLessThanOrEqual(40);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('keeps the step of a row that is read again soon, through its versions, and of no other', () => {
    const size = 10;
    const reader = new RowReader(size);
    const table = new ViewTable('', 1);
    for (let i = 0; i < 100; i++) table.put(i, i, toLatin1(countRow(i)));
    const read = (key: number): unknown => reader.read(table, layout, key, 5).value(0);
    const isKept = (key: RowKey): boolean => table.rows.get(key)?.step !== undefined;
    for (let key = 1; key < 100; key++) expect(read(key)).toBe(key);
    expect([...table.rows.keys()].filter(isKept)).toEqual([]);
    // At once, and again at the end of the least distance.
    expect([read(0), isKept(0), read(0), isKept(0)]).toEqual([0, false, 0, true]);
    expect([read(50), isKept(50)]).toEqual([50, false]);
    for (let key = 51; key < 50 + size; key++) read(key);
    expect([read(50), isKept(50)]).toEqual([50, true]);
    table.put(50, 200, toLatin1(countRow(200)));
    expect([isKept(50), read(50), isKept(50)]).toEqual([false, 200, true]);
    // Beyond the greatest.
    read(20);
    for (let key = 60; key < 60 + 2 * size; key++) read(key);
    expect([read(20), isKept(20)]).toEqual([20, false]);
  });

  it('begins a batch without what the one before was told', () => {
    const batch = new RowBatch();
    const span = { from: 0, until: 1 };
    const absent = Step.of(span, [new Uint8Array(0)], [ValueStatus.ABSENT], 1, 0);
    const present = Step.of(span, [7], [ValueStatus.PRESENT], 1, 0);
    for (const [step, whole] of [
      [absent, false],
      [present, true],
    ] as const) {
      batch.begin(2);
      batch.set(0, step);
      batch.set(1, present);
      expect([batch.allPresent, batch.allNumbers]).toEqual([whole, whole]);
    }
  });

  it('reads rows of every size after each other from the same bytes', () => {
    const reader = new RowReader(1);
    const table = new ViewTable('', 1);
    const sizes = [3, 10_000, 0, 5000, 100_000, 7];
    sizes.forEach((size, key) => {
      const row = {
        version: BigInt(key),
        timelines: [{ unitUs: 1n, columns: [{ strings: [`${key}`.repeat(size)] }] }],
      };
      table.put(key, key, toLatin1(toBinary(RowSchema, create(RowSchema, row))));
    });
    // Kept while the others are read: a step owns its bytes.
    const steps = sizes.map((_, key) => reader.read(table, texts, key, 5));
    steps.forEach((step, key) => {
      expect(Buffer.from(step.value(0) as Uint8Array).toString()).toBe(`${key}`.repeat(sizes[key] ?? 0));
    });
  });

  it('R4: keeps no more bytes of long values than of so many steps, and none of them for long', () => {
    const table = new ViewTable('', 1);
    const size = 10_000;
    const rows = 200;
    for (let key = 0; key < rows; key++) {
      const row = { version: 1n, timelines: [{ columns: [{ strings: [`${key % 10}`.repeat(size)] }] }] };
      table.put(key, 1, toLatin1(toBinary(RowSchema, create(RowSchema, row))));
    }
    const reader = new RowReader(rows);
    let most = 0;
    for (let read = 0; read < 3 * rows; read++) {
      const step = reader.read(table, texts, read % rows, 5);
      expect((step.value(0) as Uint8Array)[0]).toBe(48 + ((read % rows) % 10));
      most = Math.max(
        most,
        [...table.rows.values()].reduce((sum, row) => sum + (row.step?.bytes ?? 0), 0),
      );
    }
    expect(most).toBeGreaterThan(size);
    expect(most).toBeLessThanOrEqual(2 * (rows * STEP_BYTES + size));
  });

  it('F2: takes the step that the time falls into, forwards and backwards', () => {
    const reader = new RowReader();
    const table = new ViewTable('', 1);
    const row = create(RowSchema, {
      version: 1n,
      logTimeUs: 5n,
      timelines: [{ unitUs: 10n, firstStep: 1n, gaps: [2n], hasSteps: true, columns: [{ int64s: [7n, 3n, 0n] }] }],
    });
    table.put('k', 1, toLatin1(toBinary(RowSchema, row)));
    const at = (tUs: number): unknown => reader.read(table, layout, 'k', tUs).value(0);
    expect([-100, 0, 9, 10, 29, 30, 1e15, 29, 9].map(at)).toEqual([7, 7, 7, 3, 3, 0, 0, 3, 7]);
  });
});
