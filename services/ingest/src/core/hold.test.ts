/**
 * Goal: a hold begins at the first row that it holds from. Method: entries in their order, and one that comes again behind others,
 * since its line was lost. What a hold does to rows is tested with the stream.
 */
import { describe, expect, it } from 'vitest';
import { Hold } from './hold.ts';
import type { QuarantineEntry } from './quarantine.ts';

function entry(major: bigint, more: Pick<QuarantineEntry, 'held' | 'keys' | 'truncates'>): QuarantineEntry {
  return {
    ...{
      route: 1,
      generation: 1,
      lane: 2,
      major,
      minor: 0,
      part: 0,
      source: 's',
      table: 'shop/public.t',
      operation: 1,
    },
    ...{ reason: 'shape', detail: '', contractVersion: 1, atUs: 1, committedUs: null, values: {} },
    ...more,
  };
}

const at = (major: bigint): { major: bigint; minor: number } => ({ major, minor: 0 });

describe('Hold', () => {
  it('C1: holds from the earliest of its rows on, whatever the order in which it gets to know them', () => {
    const hold = new Hold();
    hold.add(entry(7n, { held: 'table' }));
    hold.add(entry(8n, { held: 'key', keys: ['a'] }));
    expect([6n, 7n, 8n].map((major) => hold.holdsTable(at(major)))).toEqual([false, true, true]);
    // A row between must not pass before one that is held.
    hold.add(entry(3n, { held: 'key', keys: ['a'] }));
    expect([2n, 3n, 4n].map((major) => hold.holdsKey(['a'], at(major)))).toEqual([false, true, true]);
    expect([hold.holdsKey(['b'], at(5n)), hold.holdsTable(at(5n))]).toEqual([false, false]);
    hold.add(entry(4n, { held: 'key', keys: [], truncates: true }));
    expect([3n, 4n, 9n].map((major) => hold.holdsTable(at(major)))).toEqual([false, true, true]);
    expect(new Hold(hold).places).toEqual({ table: at(4n), keys: [['a', at(3n)]] });
  });

  it('C1: holds a key from its earliest row on', () => {
    const hold = new Hold();
    for (const major of [7n, 9n, 5n, 6n]) hold.add(entry(major, { held: 'key', keys: ['a'] }));
    expect(hold.places).toEqual({ table: undefined, keys: [['a', at(5n)]] });
  });
});
