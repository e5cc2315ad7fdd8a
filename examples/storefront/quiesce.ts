/**
 * Waits until everything that is committed is served: first until ingest has it all in the log, then until the replica
 * is complete through that moment.
 */
import type { Addresses } from '@freshet/cli/mesh/mesh.ts';
import { IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import type { Sql } from 'postgres';

const WAIT_MS_MAX = 120_000;

/** Waits until serve answers from the definitions that the registry has in force. */
export async function untilServing(
  addresses: Pick<Addresses, 'registry' | 'serve'>,
  signal: AbortSignal,
): Promise<void> {
  const registry = createGrpcClient(RegistryService, addresses.registry);
  const serve = createGrpcClient(ServeService, addresses.serve);
  try {
    const { resolved } = await registry.getDefinitions({}, { signal });
    await until('the features to be served', signal, async () => {
      const { servingGeneration } = await serve.getServeStatus({}, { signal });
      return servingGeneration >= (resolved?.generation ?? 0n);
    });
  } finally {
    registry.close();
    serve.close();
  }
}

export async function untilServed(
  sql: Sql,
  addresses: Pick<Addresses, 'ingest' | 'serve'>,
  signal: AbortSignal,
): Promise<void> {
  const ingest = createGrpcClient(IngestService, addresses.ingest);
  const serve = createGrpcClient(ServeService, addresses.serve);
  try {
    const [row] = await sql`SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::text AS lsn`;
    const committed = BigInt(String(row?.['lsn']));
    await until('everything committed to be in the log', signal, async () => {
      const { sources } = await ingest.getIngestStatus({}, { signal });
      return sources.length > 0 && sources.every((source) => source.durableLsn >= committed);
    });
    const logged = BigInt(Date.now()) * 1000n;
    await until('everything logged to be served', signal, async () => {
      const { shards } = await serve.getServeStatus({}, { signal });
      return shards.length > 0 && shards.every((shard) => shard.completeThroughUs > logged);
    });
  } finally {
    ingest.close();
    serve.close();
  }
}

async function until(what: string, signal: AbortSignal, reached: () => Promise<boolean>): Promise<void> {
  const startedAt = performance.now();
  while (!(await reached())) {
    signal.throwIfAborted();
    if (performance.now() - startedAt > WAIT_MS_MAX) {
      throw new FreshetError('DEADLINE_EXCEEDED', `waited ${WAIT_MS_MAX / 1000} s for ${what}`, {
        remedy: 'see npm run freshet -- status',
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
