/**
 * The log, wherever it is now: a reader that goes to the address last heard of.
 *
 * Owns the connection and its replacement. Does not own trying again (the loops do) nor whether a log is the right one
 * (each shard knows which log it folded).
 */

import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { fromHex } from '@freshet/kit/hex.ts';
import {
  type GenerationAnswered,
  type GenerationWanted,
  requestGenerations,
} from '@freshet/log/generation-requests.ts';
import { createGrpcLogReader, type GrpcLogReader } from '@freshet/log/grpc-log-reader.ts';
import type { LogBatch, LogDescription, LogReader } from '@freshet/log/log.ts';
import type { LogKeeper, NeededFrom } from '../core/tell-checkpoints.ts';

export class LogSource implements LogReader, LogKeeper {
  #address: string | undefined;
  #reader: GrpcLogReader | undefined;

  /** Where the log is served; undefined while nobody knows. Readings that run go on until they break. */
  setAddress(address: string | undefined): void {
    // A node that left for a moment comes back at its address: keep trying there.
    if (address === undefined || address === this.#address) return;
    this.#address = address;
    this.#replace();
  }

  async describe(signal?: AbortSignal): Promise<LogDescription> {
    try {
      return await this.#current().describe(signal);
    } catch (error) {
      // A reader stays with the first log that answered it. Another one is there now: each shard must be told.
      if (!isFreshetError(error, 'WRONG_LOG')) throw error;
      this.#replace();
      return this.#current().describe(signal);
    }
  }

  read(partition: number, from: number, signal: AbortSignal): AsyncIterable<LogBatch> {
    return this.#current().read(partition, from, signal);
  }

  /** Tells the log's keeper from where on this node may read again (L2). One attempt. */
  async noteCheckpoints(
    node: string,
    logId: string,
    needed: readonly NeededFrom[],
    signal: AbortSignal,
  ): Promise<void> {
    const client = createGrpcClient(LogService, this.#known());
    try {
      const checkpoints = needed.map(({ shard, position }) => ({ shard, offset: BigInt(position) }));
      await client.noteCheckpoints({ nodeId: node, logId: fromHex(logId), checkpoints }, { signal });
    } finally {
      client.close();
    }
  }

  /** Asks the log's keeper for routes anew. One attempt. */
  requestGenerations(
    node: string,
    logId: string,
    wanted: readonly GenerationWanted[],
    signal: AbortSignal,
  ): Promise<readonly GenerationAnswered[]> {
    return requestGenerations(this.#known(), node, logId, wanted, signal);
  }

  close(): void {
    this.#reader?.close();
  }

  #replace(): void {
    this.#reader?.close();
    this.#reader = this.#address === undefined ? undefined : createGrpcLogReader({ address: this.#address });
  }

  #current(): GrpcLogReader {
    this.#known();
    return must(this.#reader);
  }

  #known(): string {
    if (this.#address !== undefined) return this.#address;
    throw new FreshetError('UNAVAILABLE', 'no node that has the log is known yet', {
      remedy: 'start ingest with the same --registry, or name it with --log',
    });
  }
}
