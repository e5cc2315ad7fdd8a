/**
 * Reads a log over LogService. The frames arrive as they lie on the server's disk, and their checksums are checked
 * here: once, end to end.
 *
 * One attempt: a broken connection ends the iteration with UNAVAILABLE, and the caller goes on from its own position.
 * Invariants: F3 (contiguity is checked again on this side); R3 (the first answer pins the log's id: a server that
 * has another log is refused with WRONG_LOG).
 */
import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { damaged, decodeFrames } from './follow.ts';
import type { FrameBatch, LogBatch, LogDescription, LogReader } from './log.ts';

export interface GrpcLogReaderOptions {
  /** Where the log's service listens: "host:port". */
  readonly address: string;
  /** The id of the log that is expected, 16 bytes in hex; left out: whichever answers first. */
  readonly logId?: string | undefined;
}

export interface GrpcLogReader extends LogReader {
  close(): void;
}

export function createGrpcLogReader(options: GrpcLogReaderOptions): GrpcLogReader {
  return new GrpcLogReaderImpl(options);
}

class GrpcLogReaderImpl implements GrpcLogReader {
  readonly #address: string;
  readonly #client: GrpcClient<typeof LogService>;
  #logId: string | undefined;

  constructor(options: GrpcLogReaderOptions) {
    this.#address = options.address;
    this.#logId = options.logId;
    this.#client = createGrpcClient(LogService, options.address);
  }

  async describe(signal?: AbortSignal): Promise<LogDescription> {
    const response = await this.#client.describeLog({}, { signal });
    const logId = Buffer.from(response.logId).toString('hex');
    this.#logId ??= logId;
    if (logId !== this.#logId) {
      throw new FreshetError('WRONG_LOG', `the log at ${this.#address} is ${logId}, not ${this.#logId}`, {
        place: this.#address,
      });
    }
    const partitions = response.partitions.map(({ start, end }) => ({ start: Number(start), end: Number(end) }));
    return { logId, partitions };
  }

  async *read(partition: number, from: number, signal: AbortSignal): AsyncGenerator<LogBatch> {
    try {
      yield* decodeFrames(this.#frames(partition, from, signal), `from ${this.#address}`);
    } catch (error) {
      // An abort ends the iteration quietly, however it surfaced.
      if (!signal.aborted) throw error;
    }
  }

  close(): void {
    this.#client.close();
  }

  async *#frames(partition: number, from: number, signal: AbortSignal): AsyncGenerator<FrameBatch> {
    if (signal.aborted) return;
    if (!Number.isSafeInteger(from) || from < 0) {
      throw new FreshetError('OFFSET_OUT_OF_RANGE', `${from} is no offset`, { place: `partition ${partition}` });
    }
    const logId = this.#logId === undefined ? new Uint8Array(0) : Buffer.from(this.#logId, 'hex');
    let next = from;
    for await (const response of this.#client.readLog({ logId, partition, from: BigInt(from) }, { signal })) {
      const { count, frames } = response;
      const firstOffset = Number(response.firstOffset);
      if (firstOffset !== next || count === 0) {
        throw damaged(`partition ${partition}, offset ${next}`, `${this.#address} sent offset ${firstOffset} instead`);
      }
      next += count;
      yield { partition, firstOffset, count, frames, end: Number(response.end) };
    }
    // The stream follows the tail until it is cancelled: an end means that the server is going away.
    if (!signal.aborted) throw new FreshetError('UNAVAILABLE', `${this.#address} ended the stream of the log`);
  }
}
