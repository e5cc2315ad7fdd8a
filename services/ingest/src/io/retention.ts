/**
 * Keeps the log within its limits, as far as checkpoints allow it: once a minute everybody's silence is counted, the log is
 * trimmed, and what could not be kept is told as a condition.
 *
 * Owns the loop. What may go is packages/log/src/retention.ts, what is needed core/checkpoint-book.ts (L2).
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { RetentionKeeper } from '@freshet/log/retention-keeper.ts';
import type { CheckpointFile } from './checkpoint-file.ts';

const INTERVAL_MS = 60_000;

export interface RetentionOptions {
  readonly keeper: RetentionKeeper;
  readonly checkpoints: CheckpointFile;
  readonly conditions: ConditionBoard;
  readonly clock: Clock;
}

/** Runs until the signal. Rejects with faults of ours only. */
export async function runRetention(options: RetentionOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await keepOnce(options);
    await options.clock.sleep(INTERVAL_MS, signal).catch(() => undefined);
  }
}

/** One round. */
export async function keepOnce({
  keeper,
  checkpoints,
  conditions,
}: Omit<RetentionOptions, 'clock'> & Partial<Pick<RetentionOptions, 'clock'>>): Promise<void> {
  try {
    await checkpoints.count();
    conditions.clear('retention/checkpoints');
  } catch (error) {
    if (!isFreshetError(error)) throw error;
    conditions.raise('retention/checkpoints', error);
  }
  await keeper.apply();
  const { overruns, fault } = keeper.state;
  const now = new Set<string>();
  for (const { limit, reason, partition, message, remedy } of overruns) {
    const id = `retention/${limit}/${partition ?? 'all'}/${reason}`;
    now.add(id);
    conditions.raise(id, { code: 'LIMIT_EXCEEDED', message, remedy });
  }
  if (fault !== undefined) {
    now.add('retention/trim');
    conditions.raise('retention/trim', fault);
  }
  for (const { nodeId } of checkpoints.forgotten) {
    const id = `retention/forgotten/${nodeId}`;
    now.add(id);
    const message = `compute node ${nodeId} has not told of its checkpoints for long, and no longer holds the log back`;
    const remedy =
      'if it is meant to come back, start it soon; if not, nothing: this goes with the next start of ingest';
    conditions.raise(id, { code: 'UNAVAILABLE', message, remedy }, 'note');
  }
  for (const { id } of conditions.list()) {
    if (id.startsWith('retention/') && id !== 'retention/checkpoints' && !now.has(id)) conditions.clear(id);
  }
}
