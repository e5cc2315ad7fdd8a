/** Goal: no frame that is lost, doubled or out of place goes unnoticed (R1). Method: every such change of a short stream. */
import { create } from '@bufbuild/protobuf';
import { SubscribeChangesResponseSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { describe, expect, it } from 'vitest';
import { inSequence } from './frame-sequence.ts';

async function taken(numbers: readonly number[]): Promise<{ seen: number[]; error: unknown }> {
  const seen: number[] = [];
  async function* frames() {
    for (const number of numbers) yield create(SubscribeChangesResponseSchema, { sequence: BigInt(number) });
  }
  try {
    for await (const { sequence } of inSequence(frames())) seen.push(Number(sequence));
    return { seen, error: undefined };
  } catch (error) {
    return { seen, error };
  }
}

describe('inSequence', () => {
  it('R1: passes a whole stream on', async () => {
    expect(await taken([0, 1, 2, 3])).toEqual({ seen: [0, 1, 2, 3], error: undefined });
  });

  it.each([
    [[0, 2, 3], [0]],
    [
      [0, 1, 1, 2],
      [0, 1],
    ],
    [[0, 2, 1, 3], [0]],
    [[1, 2], []],
  ])('R1: ends %j where it goes wrong', async (numbers, right) => {
    const { seen, error } = await taken(numbers);
    expect(seen).toEqual(right);
    expect(isFreshetError(error, 'UNAVAILABLE')).toBe(true);
  });
});
