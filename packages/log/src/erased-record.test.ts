/**
 * Goal: a filler is as long as what it replaces, is a LogRecord that says nothing else, and gives the checksum back.
 * Method: every length up to some thousands, and large ones, read by protobuf-es.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ErasedSchema, LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { describe, expect, it } from 'vitest';
import { crcOfErased, ERASED_BYTES_MIN, encodeErased, rowsGoneAt } from './erased-record.ts';
import { encodeChange, encodeRecord, encodeTick } from './record-writer.ts';

const CRC = 0xfedc_ba98;

describe('what stands where a record was', () => {
  it('is exactly as long, whatever the length, and a record of its own kind', () => {
    const lengths = Array.from({ length: 3_000 }, (_, i) => ERASED_BYTES_MIN + i);
    for (const length of [...lengths, 16_383, 16_384, 16_391, 2_097_160, 16 * 1024 * 1024]) {
      const bytes = encodeErased(length, CRC);
      expect(bytes.length).toBe(length);
      expect(crcOfErased(bytes)).toBe(CRC);
      const { kind } = fromBinary(LogRecordSchema, bytes);
      expect(kind.case).toBe('erased');
      if (kind.case !== 'erased') continue;
      expect(kind.value.recordCrc).toBe(CRC);
      if (kind.value.padding.length > 0) expect(kind.value.padding.every((byte) => byte === 0)).toBe(true);
    }
  });

  it('F3: has room for the place in its lane of any change, whatever its numbers', () => {
    const big = 2n ** 64n - 1n;
    for (const [route, lane, major, minor, part] of [
      [0, 0, 0n, 0n, 0],
      [1, 2, 3n, 0n, 0],
      [2 ** 32 - 1, 2 ** 32 - 1, big, big, 2 ** 32 - 1],
    ] as const) {
      for (let keyBytes = 2; keyBytes < 300; keyBytes++) {
        const head = { route, generation: route, lane, major, minor, part, operation: Operation.INSERT };
        const change = encodeChange({ ...head, entityKey: new Uint8Array(keyBytes), contractVersion: 0 }, [], []);
        const place = { route, generation: route, lane, sequence: { major, minor, part } };
        const kept = toBinary(ErasedSchema, create(ErasedSchema, place));
        const erased = encodeErased(change.length, CRC, kept);
        expect([erased.length, crcOfErased(erased)]).toEqual([change.length, CRC]);
        const { kind } = fromBinary(LogRecordSchema, erased);
        expect(kind).toMatchObject({ case: 'erased', value: { route, lane, sequence: { major, minor, part } } });
      }
    }
  });

  it('says of an Erase record where the partition ended when the rows were out of it, and of no other', () => {
    const value = { entity: 'user', entityKey: new Uint8Array(9), eraseId: 'e1', routes: [1] };
    const erase = encodeRecord({ case: 'erase', value });
    for (const end of [0, 1, 127, 128, 300, 2 ** 31, 2 ** 40 + 5, Number.MAX_SAFE_INTEGER]) {
      const kept = toBinary(ErasedSchema, create(ErasedSchema, { rowsGoneAt: BigInt(end) }));
      for (const length of [erase.length, 129, 130, 5000]) {
        const erased = encodeErased(length, CRC, kept);
        expect([rowsGoneAt(erased), crcOfErased(erased)]).toEqual([end, CRC]);
        const { kind } = fromBinary(LogRecordSchema, erased);
        expect(kind).toMatchObject({ case: 'erased', value: { rowsGoneAt: BigInt(end), recordCrc: CRC } });
      }
    }
    const place = { route: 1, generation: 1, lane: 2, sequence: { major: 7n } };
    const change = encodeErased(60, CRC, toBinary(ErasedSchema, create(ErasedSchema, place)));
    for (const record of [erase, change, encodeErased(erase.length, CRC), encodeErased(7, CRC), encodeTick()]) {
      expect(rowsGoneAt(record)).toBeUndefined();
    }
  });

  it('is told from every other record; the shortest that can be erased is long enough', () => {
    const shortest = encodeRecord({ case: 'erase', value: { entity: 'u', entityKey: Uint8Array.of(1) } });
    expect(shortest.length).toBeGreaterThanOrEqual(ERASED_BYTES_MIN);
    const head = {
      route: 1,
      generation: 1,
      lane: 1,
      major: 1,
      minor: 0,
      contractVersion: 1,
      operation: Operation.INSERT,
    };
    const change = encodeChange({ ...head, entityKey: Uint8Array.of(1) }, [], []);
    expect(change.length).toBeGreaterThanOrEqual(ERASED_BYTES_MIN);
    for (const record of [shortest, change, encodeTick(), Uint8Array.of(0x4a), Uint8Array.of(0x4a, 0x80)]) {
      expect(crcOfErased(record)).toBeUndefined();
    }
  });
});
