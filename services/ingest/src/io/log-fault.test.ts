/** Goal: a log that halted is noticed without anybody appending. Method: a log that gets a fault; real time. */
import { systemClock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { expect, it } from 'vitest';
import { logFault } from './log-fault.ts';

it.each(['LOG_HALTED', 'CLOCK_JUMP'] as const)('tells of %s though no source appends', async (code) => {
  const log: { fault: FreshetError | undefined } = { fault: undefined };
  const told = logFault(log, systemClock, new AbortController().signal);
  await systemClock.sleep(10);
  log.fault = new FreshetError(code, 'it halted');
  await expect(told).rejects.toMatchObject({ code });
});
