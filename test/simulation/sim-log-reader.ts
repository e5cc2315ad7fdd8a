/** The log as compute reads it in a simulation: frames over the network, checked at this end, as over gRPC. */

import { create } from '@bufbuild/protobuf';
import { NoteCheckpointsRequestSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { fromHex } from '@freshet/kit/hex.ts';
import { damaged, decodeFrames } from '@freshet/log/follow.ts';
import type { GenerationAnswered, GenerationAsker, GenerationWanted } from '@freshet/log/generation-requests.ts';
import type { FrameBatch, LogBatch, LogDescription, LogReader } from '@freshet/log/log.ts';
import type { Network } from '@freshet/testkit/simulation/network.ts';
import type { SimProcess } from '@freshet/testkit/simulation/sim-process.ts';
import type { LogKeeper, NeededFrom } from '../../services/compute/src/core/tell-checkpoints.ts';
import type { SimIngestService } from './ingest-machine.ts';

export class SimLogReader implements LogReader, LogKeeper, GenerationAsker {
  readonly #process: SimProcess;
  readonly #network: Network;
  readonly #address: string;
  readonly #onReading: () => void;

  /** `onReading` is called for whoever takes more than the first of what he reads. */
  constructor(process: SimProcess, network: Network, address: string, onReading: () => void) {
    this.#process = process;
    this.#network = network;
    this.#address = address;
    this.#onReading = onReading;
  }

  describe(): Promise<LogDescription> {
    return this.#network.call(
      this.#process,
      this.#address,
      ({ log }: SimIngestService) => log.describe(),
      structuredClone,
    );
  }

  async noteCheckpoints(nodeId: string, logId: string, needed: readonly NeededFrom[]): Promise<void> {
    const checkpoints = needed.map(({ shard, position }) => ({ shard, offset: BigInt(position) }));
    const request = create(NoteCheckpointsRequestSchema, { nodeId, logId: fromHex(logId), checkpoints });
    await this.#network.call(
      this.#process,
      this.#address,
      async (service: SimIngestService) => void (await service.noteCheckpoints(request)),
      () => undefined,
    );
  }

  requestGenerations(
    node: string,
    _logId: string,
    wanted: readonly GenerationWanted[],
  ): Promise<readonly GenerationAnswered[]> {
    return this.#network.call(
      this.#process,
      this.#address,
      ({ ask }: SimIngestService) => ask(node, wanted),
      structuredClone,
    );
  }

  async *read(partition: number, from: number, signal: AbortSignal): AsyncGenerator<LogBatch> {
    const frames = this.#network.stream(
      this.#process,
      this.#address,
      ({ log }: SimIngestService, server) => log.readFrames(partition, from, server),
      (batch) => ({ ...batch, frames: Uint8Array.from(batch.frames) }),
      signal,
    );
    try {
      for await (const batch of decodeFrames(contiguous(frames, partition, from), `from ${this.#address}`)) {
        yield batch;
        this.#onReading();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    if (!signal.aborted) throw new FreshetError('UNAVAILABLE', `${this.#address} ended the stream of the log`);
  }
}

async function* contiguous(
  frames: AsyncIterable<FrameBatch>,
  partition: number,
  from: number,
): AsyncGenerator<FrameBatch> {
  let next = from;
  for await (const batch of frames) {
    if (batch.firstOffset !== next || batch.count === 0) {
      throw damaged(`partition ${partition}, offset ${next}`, `offset ${batch.firstOffset} came instead`);
    }
    next += batch.count;
    yield batch;
  }
}
