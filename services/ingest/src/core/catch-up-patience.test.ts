/** Goal: live rows wait for a catch-up only when it is nearly there, or would never be. Method: gaps as they may go. */
import { expect, it } from 'vitest';
import { CatchUpPatience } from './catch-up-patience.ts';

const MIB = 2 ** 20;

/** After how many reads the live stream is to wait, if ever within so many. */
function waits(gapAt: (read: number) => number, reads = 20_000): number | undefined {
  const patience = new CatchUpPatience();
  for (let read = 1; read <= reads; read++) if (patience.isOver(BigInt(Math.floor(gapAt(read))))) return read;
  return undefined;
}

it('nobody waits for one that is far behind and comes nearer', () => {
  expect(waits((read) => 1000 * MIB - read * 60_000, 17_400)).toBeUndefined();
});

it('live rows wait for one that is near and never level', () => {
  expect(waits(() => 100)).toBe(200);
  expect(waits((read) => (read <= 1_000 ? 50 * MIB : 2_000))).toBe(1_200);
});

it('and for one that comes no nearer', () => {
  expect(waits(() => 50 * MIB)).toBe(5_000);
  expect(waits((read) => 50 * MIB + read * 1000)).toBe(5_000);
  // Nearer in the first stretch, and then no more.
  expect(waits((read) => Math.max(20 * MIB, 50 * MIB - read * 10_000))).toBe(10_000);
});

it('says so once', () => {
  const patience = new CatchUpPatience();
  const said = Array.from({ length: 1_000 }, () => patience.isOver(1n)).filter(Boolean);
  expect(said).toHaveLength(1);
});
