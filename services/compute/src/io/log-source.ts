/**
 * The log, wherever it is now: a reader that goes to the address last heard of.
 *
 * Owns the connection and its replacement. Does not own trying again (the loops do) nor whether a log is the right one
 * (each shard knows which log it folded).
 */
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcLogReader, type GrpcLogReader } from '@freshet/log/grpc-log-reader.ts';
import type { LogBatch, LogDescription, LogReader } from '@freshet/log/log.ts';

export class LogSource implements LogReader {
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

  close(): void {
    this.#reader?.close();
  }

  #replace(): void {
    this.#reader?.close();
    this.#reader = this.#address === undefined ? undefined : createGrpcLogReader({ address: this.#address });
  }

  #current(): GrpcLogReader {
    if (this.#reader !== undefined) return this.#reader;
    throw new FreshetError('UNAVAILABLE', 'no node that has the log is known yet', {
      remedy: 'start ingest with the same --registry, or name it with --log',
    });
  }
}
