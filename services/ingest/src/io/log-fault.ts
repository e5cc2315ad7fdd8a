/**
 * Tells how the log is, whoever's write it was that failed (an idle source would never ask): what it refuses for now and
 * what of it is damaged as conditions, and a log that halted as the end of the process.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';

const LOOK_MS = 500;
/** Of a log that is damaged in many places, the first tell enough. */
const DAMAGE_TOLD_MAX = 16;

export interface WatchedLog {
  readonly fault: FreshetError | undefined;
  readonly refusal: FreshetError | undefined;
  readonly damage: readonly FreshetError[];
}

/** Rejects with the log's fault once it has one; stays pending after the signal. */
export async function logFault(
  log: WatchedLog,
  conditions: ConditionBoard,
  clock: Clock,
  signal: AbortSignal,
): Promise<never> {
  while (!signal.aborted) {
    if (log.fault !== undefined) {
      conditions.raise('log/fault', log.fault, 'problem');
      throw log.fault;
    }
    tell(log, conditions);
    await clock.sleep(LOOK_MS, signal).catch(() => undefined);
  }
  return new Promise<never>(() => {});
}

function tell({ refusal, damage }: WatchedLog, conditions: ConditionBoard): void {
  if (refusal === undefined) conditions.clear('log/refusal');
  else conditions.raise('log/refusal', refusal);
  for (let i = 0; i < DAMAGE_TOLD_MAX; i++) {
    const error = damage[i];
    if (error === undefined) conditions.clear(`log/damage/${i}`);
    else conditions.raise(`log/damage/${i}`, error, 'problem');
  }
}
