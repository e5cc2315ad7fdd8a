/** Goal: the list of shards is read right or refused with what is wrong. Method: examples. */
import { describe, expect, it } from 'vitest';
import { parseShards } from './config.ts';

describe('parseShards', () => {
  it('reads all, numbers and ranges', () => {
    expect(parseShards('all')).toBe('all');
    expect(parseShards('3')).toEqual([3]);
    expect(parseShards('4-6,0, 5')).toEqual([0, 4, 5, 6]);
  });

  it.each(['', 'x', '3-1', '-1', '1,,2', '5000', '1-99999'])('refuses "%s"', (text) => {
    expect(() => parseShards(text)).toThrow("is not a shard's number");
  });
});
