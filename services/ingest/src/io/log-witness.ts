/**
 * Notes in a source's state where the log ends, and compares once, when the state is first loaded, with where the log ended
 * when it was opened (core/log-loss.ts). To be made right after the log was opened: what is appended since would hide it.
 */
import type { Log } from '@freshet/log/log.ts';
import { endsOf, logLoss } from '../core/log-loss.ts';
import type { SourceState } from '../core/source-state.ts';

export class LogWitness {
  readonly #log: Pick<Log, 'describe'>;
  readonly #openedEnds: Promise<readonly number[]>;
  #isCompared = false;

  constructor(log: Pick<Log, 'describe'>) {
    this.#log = log;
    this.#openedEnds = this.#ends();
  }

  /** The state with where the log ends now: all that is acknowledged by it lies before. */
  async noted(state: SourceState): Promise<SourceState> {
    return { ...state, logEnds: await this.#ends() };
  }

  /** The state as loaded, with what the log lost since it was saved. Saves that: the log grows on, and would hide it. */
  async compared(loaded: SourceState, save: (state: SourceState) => Promise<SourceState>): Promise<SourceState> {
    const lost = this.#isCompared ? '' : logLoss(loaded.logEnds, await this.#openedEnds);
    const state = lost === '' ? loaded : await save({ ...loaded, logLost: lost });
    this.#isCompared = true;
    return state;
  }

  async #ends(): Promise<readonly number[]> {
    const { partitions } = await this.#log.describe();
    return endsOf(partitions);
  }
}
