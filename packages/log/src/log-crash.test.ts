/**
 * Goal: L1 over real crashes. Method: a process appends in a loop and tells what was acknowledged; it is killed with
 * SIGKILL at a random moment; the log is opened again and must hold every acknowledged record at its offset, whole
 * records only, and go on. The same directory goes through all rounds. (A kill loses no page cache: what a power loss
 * leaves is simulated byte by byte in segment-recovery.test.ts.)
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@freshet/kit/clock.ts';
import { expect, it } from 'vitest';
import { readSome } from './log-contract-suite.ts';
import { openSegmentLog } from './segment-log.ts';

const ROUNDS = 6;
const PARTITIONS = 2;
const SEGMENT_BYTES = 200_000;

interface Acknowledged {
  readonly partition: number;
  readonly firstOffset: number;
  readonly texts: readonly string[];
}

/** Lets a process append until so many appends are acknowledged, kills it, and returns all that it had told. */
async function appendAndKill(directory: string, round: number, acknowledgements: number): Promise<Acknowledged[]> {
  const program = new URL('./log-crash.program.ts', import.meta.url);
  const args = [directory, String(PARTITIONS), String(SEGMENT_BYTES), String(round)];
  const child = fork(program, args, { execArgv: [] });
  const told: Acknowledged[] = [];
  child.on('message', (message) => {
    told.push(message as Acknowledged);
    if (told.length === acknowledgements) child.kill('SIGKILL');
  });
  const [code, signal] = await once(child, 'close');
  expect([code, signal]).toEqual([null, 'SIGKILL']);
  return told;
}

it('L1, F3: after a SIGKILL every acknowledged record is there, what follows is whole, and log time goes on', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'freshet-log-'));
  const acknowledged = Array.from({ length: PARTITIONS }, () => new Map<number, string>());
  let logId: string | undefined;
  for (let round = 0; round < ROUNDS; round++) {
    for (const { partition, firstOffset, texts } of await appendAndKill(
      directory,
      round,
      50 + Math.floor(Math.random() * 400),
    )) {
      for (const [index, text] of texts.entries()) {
        // No offset is given twice, over all rounds.
        expect(acknowledged[partition]!.has(firstOffset + index)).toBe(false);
        acknowledged[partition]!.set(firstOffset + index, text);
      }
    }
    const log = await openSegmentLog({ directory, partitions: PARTITIONS, clock: systemClock });
    logId ??= log.logId;
    expect(log.logId).toBe(logId);
    for (const [partition, { end }] of (await log.describe()).partitions.entries()) {
      const entries = await readSome(log, partition, 0, end);
      expect(entries.length).toBe(end);
      for (const [offset, text] of acknowledged[partition]!)
        expect(entries[offset]?.text.replace(/\.+$/, '')).toBe(text);
      for (const entry of entries) expect(entry.text).toMatch(/^\d+\/\d+\/\d+\/\d+:\.*$/);
      for (const [index, entry] of entries.entries()) {
        expect(entry.logTimeUs).toBeGreaterThanOrEqual(entries[index - 1]?.logTimeUs ?? 0);
      }
    }
    await log.close();
  }
  await rm(directory, { recursive: true });
});
