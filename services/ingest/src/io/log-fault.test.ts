/**
 * Goal: a log that halted is noticed without anybody appending, and what it refuses or has damaged is told for as long as
 * it is so. Method: a log that is set to each; a clock moved by hand.
 */
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import { logFault } from './log-fault.ts';

interface ScriptedLog {
  fault: FreshetError | undefined;
  refusal: FreshetError | undefined;
  damage: FreshetError[];
}

function watched() {
  const clock = new VirtualClock();
  const conditions = new ConditionBoard({ clock, log: silentLogger });
  const log: ScriptedLog = { fault: undefined, refusal: undefined, damage: [] };
  const told = logFault(log, conditions, clock, new AbortController().signal);
  told.catch(() => {});
  return { clock, conditions, log, told, codes: () => conditions.list().map(({ id, code }) => `${id} ${code}`) };
}

it.each(['LOG_HALTED', 'CLOCK_JUMP'] as const)('tells of %s though no source appends', async (code) => {
  const { clock, log, told, codes } = watched();
  await clock.advance(10_000);
  log.fault = new FreshetError(code, 'it halted');
  await clock.advance(1_000_000);
  await expect(told).rejects.toMatchObject({ code });
  expect(codes()).toEqual([`log/fault ${code}`]);
});

it('tells what the log refuses for now, and what of it is damaged, for as long as it is so', async () => {
  const { clock, log, codes } = watched();
  log.refusal = new FreshetError('DISK_FULL', 'no room');
  log.damage = [new FreshetError('DATA_DAMAGED', 'a'), new FreshetError('DATA_DAMAGED', 'b')];
  await clock.advance(1_000_000);
  expect(codes()).toEqual(['log/damage/0 DATA_DAMAGED', 'log/damage/1 DATA_DAMAGED', 'log/refusal DISK_FULL']);
  log.refusal = undefined;
  log.damage.pop();
  await clock.advance(1_000_000);
  expect(codes()).toEqual(['log/damage/0 DATA_DAMAGED']);
});
