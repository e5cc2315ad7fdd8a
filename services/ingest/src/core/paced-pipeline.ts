/**
 * A share of a source's append pipeline, for what is brought to the log beside the live stream.
 *
 * Everything of a source goes through one pipeline, so that what was pushed first is first in each partition (F3): a route
 * that is handed from one stream to the other keeps its order without a wait. What live rows wait for in the queues is then
 * what is in front of them: `bytesMax` bounds that (R4; gauge: `bytes`; policy: the caller waits in room()).
 * Pure; counts only what was pushed through it.
 */
import type { AppendPipeline, BatchTaker } from './append-pipeline.ts';
import type { Batch } from './batch.ts';

export class PacedPipeline implements BatchTaker {
  readonly #pipeline: Pick<AppendPipeline, 'push' | 'room' | 'until'>;
  readonly #bytesMax: number;
  #bytes = 0;
  #batches = 0;

  /** `bytesMax`: the most that may be queued and on its way of it, in bytes of memory; one batch may go beyond it. */
  constructor(pipeline: Pick<AppendPipeline, 'push' | 'room' | 'until'>, bytesMax: number) {
    this.#pipeline = pipeline;
    this.#bytesMax = bytesMax;
  }

  /** What is queued and on its way of what was pushed here, in bytes of memory. */
  get bytes(): number {
    return this.#bytes;
  }

  push(batch: Batch, durable: () => void): void {
    const { bytes } = batch;
    this.#bytes += bytes;
    this.#batches += 1;
    this.#pipeline.push(batch, () => {
      this.#bytes -= bytes;
      this.#batches -= 1;
      durable();
    });
  }

  async room(signal: AbortSignal): Promise<void> {
    await this.#pipeline.until(() => this.#bytes < this.#bytesMax, signal);
    // A log that is behind is left to what is live.
    await this.#pipeline.room(signal);
  }

  drained(signal?: AbortSignal): Promise<void> {
    return this.#pipeline.until(() => this.#batches === 0, signal);
  }
}
