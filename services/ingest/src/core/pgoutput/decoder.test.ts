/**
 * Goal: every message of protocol version 1 is read exactly, and bytes that are none are refused.
 * Method: messages made by an encoder of our own from random contents (fast-check), and every cut of each of them.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodePgOutput, POSTGRES_EPOCH_US } from './decoder.ts';
import type { PgOutputMessage, Tuple } from './messages.ts';

function u8(value: number): Buffer {
  return Buffer.of(value);
}
function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}
function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, value));
  return bytes;
}
const time = (us: number): Buffer => u64(BigInt(us - POSTGRES_EPOCH_US));
const text = (value: string): Buffer => Buffer.from(`${value}\0`);

function tuple(values: Tuple): Buffer {
  return Buffer.concat([
    u16(values.length),
    ...values.map((value) => {
      if (value === null) return Buffer.from('n');
      if (value === undefined) return Buffer.from('u');
      const bytes = Buffer.from(value);
      return Buffer.concat([Buffer.from('t'), u32(bytes.length), bytes]);
    }),
  ]);
}

function encode(message: PgOutputMessage): Buffer {
  const tagged = (tag: string, ...parts: Buffer[]): Buffer => Buffer.concat([Buffer.from(tag), ...parts]);
  switch (message.kind) {
    case 'begin':
      return tagged('B', u64(message.commitLsn), time(message.commitTimeUs), u32(message.xid));
    case 'commit':
      return tagged('C', u8(0), u64(message.commitLsn), u64(message.endLsn), time(message.commitTimeUs));
    case 'relation': {
      const { id, schema, table, replicaIdentity, columns } = message.relation;
      const body = columns.map((c) =>
        Buffer.concat([u8(c.identity ? 1 : 0), text(c.name), u32(c.typeOid), u32(c.typeModifier)]),
      );
      return tagged(
        'R',
        u32(id),
        text(schema),
        text(table),
        Buffer.from(replicaIdentity),
        u16(columns.length),
        ...body,
      );
    }
    case 'insert':
      return tagged('I', u32(message.relationId), Buffer.from('N'), tuple(message.row));
    case 'update': {
      const { old } = message;
      const before = old === undefined ? [] : [Buffer.from(old.whole ? 'O' : 'K'), tuple(old.values)];
      return tagged('U', u32(message.relationId), ...before, Buffer.from('N'), tuple(message.row));
    }
    case 'delete':
      return tagged(
        'D',
        u32(message.relationId),
        Buffer.from(message.old.whole ? 'O' : 'K'),
        tuple(message.old.values),
      );
    case 'truncate': {
      const options = (message.cascade ? 1 : 0) | (message.restartIdentity ? 2 : 0);
      return tagged('T', u32(message.relationIds.length), u8(options), ...message.relationIds.map(u32));
    }
    case 'type':
      return tagged('Y', u32(message.oid), text(message.schema), text(message.name));
    case 'origin':
      return tagged('O', u64(message.lsn), text(message.name));
    case 'message':
      return tagged(
        'M',
        u8(message.transactional ? 1 : 0),
        u64(message.lsn),
        text(message.prefix),
        u32(message.content.length),
        Buffer.from(message.content),
      );
    case 'ignored':
      return tagged(message.tag, Buffer.from('whatever'));
  }
}

const oid = fc.nat({ max: 0xffff_ffff });
const lsn = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const timeUs = fc.integer({ min: -(2 ** 52), max: 2 ** 52 });
const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter((s) => !s.includes('\0'));
const value = fc.oneof(fc.constant(null), fc.constant(undefined), fc.string({ unit: 'grapheme' }));
const row = fc.array(value, { maxLength: 8 });
const old = fc.record({ whole: fc.boolean(), values: row });
const column = fc.record({
  name,
  typeOid: oid,
  typeModifier: fc.integer({ min: -1, max: 2 ** 31 - 1 }),
  identity: fc.boolean(),
});

const message: fc.Arbitrary<PgOutputMessage> = fc.oneof(
  fc.record({ kind: fc.constant('begin' as const), commitLsn: lsn, commitTimeUs: timeUs, xid: oid }),
  fc.record({ kind: fc.constant('commit' as const), commitLsn: lsn, endLsn: lsn, commitTimeUs: timeUs }),
  fc.record({
    kind: fc.constant('relation' as const),
    relation: fc.record({
      id: oid,
      schema: name,
      table: name,
      replicaIdentity: fc.constantFrom('d', 'n', 'f', 'i'),
      columns: fc.array(column, { maxLength: 5 }),
    }),
  }),
  fc.record({ kind: fc.constant('insert' as const), relationId: oid, row }),
  fc.record({ kind: fc.constant('update' as const), relationId: oid, old: fc.option(old, { nil: undefined }), row }),
  fc.record({ kind: fc.constant('delete' as const), relationId: oid, old }),
  fc.record({
    kind: fc.constant('truncate' as const),
    relationIds: fc.array(oid, { maxLength: 4 }),
    cascade: fc.boolean(),
    restartIdentity: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('type' as const), oid, schema: name, name }),
  fc.record({ kind: fc.constant('origin' as const), lsn, name }),
  fc.record({
    kind: fc.constant('message' as const),
    transactional: fc.boolean(),
    lsn,
    prefix: name,
    content: fc.uint8Array({ maxLength: 20 }),
  }),
);

describe('decodePgOutput', () => {
  it('reads back every message', () => {
    fc.assert(
      fc.property(message, (original) => {
        const decoded = decodePgOutput(encode(original));
        const plain = decoded.kind === 'message' ? { ...decoded, content: new Uint8Array(decoded.content) } : decoded;
        expect(plain).toEqual(original);
      }),
      { numRuns: 500 },
    );
  });

  it('refuses every cut of a message, and bytes after its end', () => {
    fc.assert(
      fc.property(message, fc.nat(), (original, at) => {
        const bytes = encode(original);
        const cut = bytes.subarray(0, at % bytes.length);
        expect(() => decodePgOutput(cut)).toThrow(expect.objectContaining({ code: 'DATA_DAMAGED' }));
        expect(() => decodePgOutput(Buffer.concat([bytes, u8(0)]))).toThrow(
          expect.objectContaining({ code: 'DATA_DAMAGED' }),
        );
      }),
      { numRuns: 500 },
    );
  });

  it('reads no number twice as another: unsigned xids and oids, positions beyond 2^53, microseconds', () => {
    const begin = {
      kind: 'begin' as const,
      commitLsn: 2n ** 64n - 1n,
      commitTimeUs: 1_700_000_000_123_457,
      xid: 0xffff_ffff,
    };
    expect(decodePgOutput(encode(begin))).toEqual(begin);
  });

  it('passes over messages of later protocol versions, and refuses what is none at all', () => {
    for (const tag of 'SEcAbPKrp')
      expect(decodePgOutput(encode({ kind: 'ignored', tag }))).toEqual({ kind: 'ignored', tag });
    expect(() => decodePgOutput(Buffer.from('Z'))).toThrow(expect.objectContaining({ code: 'DATA_DAMAGED' }));
    expect(() =>
      decodePgOutput(
        Buffer.concat([Buffer.from('I'), u32(1), Buffer.from('N'), u16(1), Buffer.from('b'), u32(1), u8(0)]),
      ),
    ).toThrow(expect.objectContaining({ code: 'DATA_DAMAGED' }));
  });
});
