/**
 * Goal: what was staged comes back byte for byte, whatever sizes it came in, in pieces of bounded size; a damaged length is
 * damage, and nothing is allocated by it. Method: generated chunks on a simulated disk; a length that says a gigabyte.
 */
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readPieces, writePieces } from './stage-pieces.ts';

const PIECE_BYTES = 128 * 1024;
const PATH = '/stage/0.copy';

async function* chunksOf(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield chunk;
}

async function diskWith(chunks: readonly Uint8Array[]): Promise<{ disk: SimulatedDisk; count: number }> {
  const disk = new SimulatedDisk();
  await disk.makeDirectory('/stage');
  return { disk, count: await writePieces(disk, PATH, chunksOf(chunks)) };
}

describe('pieces of a stage', () => {
  it('R4: give back what came, in pieces of at most 128 KiB, also of a row that is larger', async () => {
    const size = fc.oneof(
      fc.nat({ max: 300 }),
      fc.constantFrom(PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 7),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(size, { maxLength: 6 }), async (sizes) => {
        const chunks = sizes.map((length, i) => new Uint8Array(length).fill(i + 1));
        const { disk, count } = await diskWith(chunks);
        const pieces: Buffer[] = [];
        for await (const piece of readPieces(disk, PATH, count)) pieces.push(piece);
        expect(Math.max(0, ...pieces.map(({ length }) => length))).toBeLessThanOrEqual(PIECE_BYTES);
        expect(Buffer.concat(pieces).equals(Buffer.concat(chunks))).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it('R4: a length beyond that is damage before anything is allocated by it', async () => {
    const { disk, count } = await diskWith([new Uint8Array(6 * PIECE_BYTES)]);
    const bytes = disk.content(PATH);
    Buffer.from(bytes.buffer, bytes.byteOffset).writeUInt32LE(4 * PIECE_BYTES, 8);
    disk.setContent(PATH, bytes);
    let reads = 0;
    disk.step = ({ kind }) => {
      if (kind === 'read') reads += 1;
    };
    const reading = async (): Promise<void> => {
      for await (const _ of readPieces(disk, PATH, count)) expect.unreachable('no piece is sound');
    };
    await expect(reading()).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    // The header alone: not what it says comes after it.
    expect(reads).toBe(1);
  });
});
