/** Goal: options that cannot work together are refused with what to do. Method: one example each, and one that works. */
import { describe, expect, it } from 'vitest';
import { checkConfig, type IngestConfig, OPTIONS } from './config.ts';

const MIB = 1024 ** 2;
const WORKS: IngestConfig = {
  dataDir: '/d',
  listen: '127.0.0.1:1',
  httpListen: '127.0.0.1:2',
  advertise: undefined,
  registry: undefined,
  partitions: 8,
  postgres: [{ name: 'shop', url: 'postgres://h/shop' }],
  slotName: 'freshet',
  resync: [{ name: 'shop', word: 'today' }],
  retainAge: 1,
  retainBytes: undefined,
  checkpointNodeTimeout: 1,
  inFlight: 32 * MIB,
  onLostHistory: 'rebuild',
  quarantineBytesMax: 1024 * MIB,
  logLevel: 'info',
};

describe('ingest’s configuration', () => {
  it('works as it is by default', () => {
    expect(() => checkConfig(WORKS)).not.toThrow();
  });

  it.each<[string, Partial<IngestConfig>, string]>([
    ['more on its way than the log takes in', { inFlight: 49 * MIB }, 'Give at most 48MiB.'],
    ['too little on its way', { inFlight: 1000 }, 'Give at least 1MiB'],
    ['a limit of bytes that the newest segments alone exceed', { retainBytes: 100 * MIB }, 'Give at least 1024MiB'],
    ['a resync of no database', { resync: [{ name: 'other', word: 'x' }] }, 'Name one of: shop'],
    ['two resyncs of one database', { resync: [...WORKS.resync, ...WORKS.resync] }, 'Keep the newer word.'],
    ['a database twice', { postgres: [...WORKS.postgres, ...WORKS.postgres] }, 'a name of its own'],
  ])('refuses %s', (_, more, remedy) => {
    expect(() => checkConfig({ ...WORKS, ...more })).toThrow(
      expect.objectContaining({ code: 'INVALID_CONFIG', remedy: expect.stringContaining(remedy) as string }),
    );
  });

  it('takes a resync with its word only, and ages in days', () => {
    expect(OPTIONS.resync.parse('shop=2026-11-23')).toEqual({ name: 'shop', word: '2026-11-23' });
    expect(() => OPTIONS.resync.parse('shop')).toThrow('<database>=<word>');
    expect(OPTIONS.retainAge.parse('7d')).toBe(7 * 86_400_000_000);
    expect(OPTIONS.retainAge.parse('none')).toBeUndefined();
    expect(() => OPTIONS.checkpointNodeTimeout.parse('0d')).toThrow('not an age');
  });
});
