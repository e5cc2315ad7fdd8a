/**
 * Puts the definitions of the configuration in force when a mesh starts.
 *
 * The first definitions are waited for, because without them nothing can be served. If others are in force from an
 * earlier run, those go on being served whatever becomes of the new ones: a failure is told, and a database that does
 * not answer is waited for only so long. A contract that somebody must accept is no start's to accept: it is told too.
 */
import type { Definitions } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { retry } from '@freshet/kit/retry.ts';
import { planAndApply } from '../definitions.ts';

export interface ApplyAtStartOptions {
  /** The registry's "host:port". */
  readonly registry: string;
  readonly definitions: Definitions;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** How long new definitions are tried to be applied while older ones are in force; the try under way may end later. */
const PATIENCE_US = 10_000_000;

/** Resolves when definitions are in force. Throws what plan and apply throw when there are none of an earlier run. */
export async function applyAtStart({ registry, definitions, clock, log, signal }: ApplyAtStartOptions): Promise<void> {
  const client = createGrpcClient(RegistryService, registry, { deadlineMs: 30_000 });
  try {
    const before = (await client.getDefinitions({}, { signal })).resolved?.generation ?? 0n;
    const endUs = before === 0n ? Infinity : clock.monotonicUs() + PATIENCE_US;
    try {
      // Ingest announces itself when it has started; until then the registry answers UNAVAILABLE.
      const { generation, changes } = await retry(() => planAndApply(client, definitions, { signal }), {
        what: 'applying the definitions',
        signal,
        clock,
        log,
        maxDelayMs: 2_000,
        retryable: (error) => (error.retryable || isAbort(error)) && clock.monotonicUs() < endUs,
      });
      log.info('definitions are in force', { generation, changes: changes.length });
    } catch (error) {
      if (before === 0n || !isFreshetError(error) || signal.aborted) throw error;
      for (const e of [error, ...error.also]) log.error(e.message, { code: e.code, place: e.place, remedy: e.remedy });
      log.error('the definitions could not be applied; those of the last run stay in force', { generation: before });
    }
  } finally {
    client.close();
  }
}
