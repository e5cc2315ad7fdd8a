/**
 * The append pipelines of a source, one after the other, never two: the next begins when nothing that the one before
 * still had can come to the log any more (F3). Counts over all of them.
 *
 * Uses no clock of its own. The wait for the one before is as long as the log takes to settle what it has in hand, one
 * append a partition; meanwhile nothing is read, and a log that cannot settle takes nothing from anybody else either.
 */
import { AppendPipeline, type AppendPipelineOptions, type LogFailure } from './append-pipeline.ts';

export type PipelineSettings = Omit<AppendPipelineOptions, 'onFailure'>;

export class SourcePipelines {
  readonly #settings: PipelineSettings;
  #current: AppendPipeline | undefined;
  #records = 0;
  #recordBytes = 0;
  #unkeyed = 0;

  constructor(settings: PipelineSettings) {
    this.#settings = settings;
  }

  get records(): number {
    return this.#records + (this.#current?.records ?? 0);
  }

  get recordBytes(): number {
    return this.#recordBytes + (this.#current?.recordBytes ?? 0);
  }

  get unkeyed(): number {
    return this.#unkeyed + (this.#current?.unkeyed ?? 0);
  }

  /** Begins a pipeline, once the one before is over. */
  async begin(onFailure?: (failure: LogFailure) => void): Promise<AppendPipeline> {
    await this.retire();
    this.#current = new AppendPipeline({ ...this.#settings, onFailure });
    return this.#current;
  }

  /** Ends the current one: resolves when nothing of it can come to the log any more. */
  async retire(): Promise<void> {
    const pipeline = this.#current;
    if (pipeline === undefined) return;
    await pipeline.retire();
    // Somebody else may have waited for the same one.
    if (this.#current !== pipeline) return;
    this.#records += pipeline.records;
    this.#recordBytes += pipeline.recordBytes;
    this.#unkeyed += pipeline.unkeyed;
    this.#current = undefined;
  }
}
