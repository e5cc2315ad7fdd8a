/**
 * A source's state, in memory and on disk, and what changes it beside the steps of capture: routes that end, losses of the
 * history, starting over.
 *
 * Owns that what is in memory was saved before, and the notice of a loss (condition source/<name>/history) for as long as it
 * is news. What the state means is core/source-state.ts; the file's form is state-file.ts.
 */
import { join } from 'node:path';
import type { Clock } from '@freshet/kit/clock.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import type { Log } from '@freshet/log/log.ts';
import type { ChangeStream } from '../core/change-stream.ts';
import { historyNotice } from '../core/history-notice.ts';
import { type Ended, endRoutes } from '../core/settle-routes.ts';
import type { DatabaseSession } from '../core/source-database.ts';
import {
  advanced,
  EMPTY_STATE,
  type RouteState,
  type SourceState,
  startedOver,
  withRoutes,
} from '../core/source-state.ts';
import { LogTail } from './log-tail.ts';
import { LogWitness } from './log-witness.ts';
import { loadState, ResyncMark } from './resync.ts';
import { StateFile } from './state-file.ts';

export interface SourceStoreOptions {
  /** The database's name in definitions. */
  readonly name: string;
  readonly slotName: string;
  readonly files: FileSystem;
  readonly directory: string;
  readonly log: Pick<Log, 'describe' | 'read' | 'logId'>;
  readonly resync?: string | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly conditions: ConditionBoard;
}

export class SourceStore {
  readonly #options: SourceStoreOptions;
  readonly #file: StateFile;
  readonly #mark: ResyncMark;
  readonly #witness: LogWitness;
  /** What of the source is in the log beyond what is acknowledged. */
  readonly #tail: LogTail;
  #state: SourceState = EMPTY_STATE;
  #updating: Promise<void> = Promise.resolve();

  constructor(options: SourceStoreOptions) {
    this.#options = options;
    const { files, directory, log, clock } = options;
    this.#witness = new LogWitness(log);
    this.#tail = new LogTail(log, clock);
    this.#file = new StateFile(files, join(directory, 'state.json'), log.logId);
    this.#mark = new ResyncMark(files, join(directory, 'resync.json'));
  }

  /** As it was last saved or loaded. */
  get state(): SourceState {
    return this.#state;
  }

  /** Takes the state from disk. Throws DATA_DAMAGED. */
  async load(): Promise<void> {
    const { clock, logger, resync } = this.#options;
    this.#state = await loadState({ file: this.#file, mark: this.#mark, resync, nowUs: clock.nowUs(), logger });
    await this.#witness.compared(this.#state, async (told) => {
      await this.save(told);
      return this.#state;
    });
    this.noteHistory();
  }

  /** Resolves when the state is durable and in force. */
  async save(state: SourceState): Promise<void> {
    if (state === this.#state) return;
    const ended = await this.#witness.noted(state);
    // First of all: nothing of the source is in the log then, or what is there of a state of before this was noted.
    const noted = ended.tailFrom.length === 0 ? { ...ended, tailFrom: ended.logEnds } : ended;
    await this.#file.save(noted);
    const isNews = state.loss !== this.#state.loss;
    this.#state = noted;
    if (isNews) this.noteHistory();
  }

  /** Saves what the change makes of the state, one change after the other: for those who work beside each other. */
  update(change: (state: SourceState) => SourceState): Promise<void> {
    const done = this.#updating.then(() => this.save(change(this.#state)));
    this.#updating = done.catch(() => undefined);
    return done;
  }

  /** Saves that the stream has come to a position, all before which is durable. */
  async advance(
    lsn: bigint,
    stream: Pick<ChangeStream, 'floors' | 'holes' | 'trail' | 'parts' | 'reachedLsn'>,
  ): Promise<void> {
    await this.update((state) => {
      const next = advanced(state, lsn, stream);
      const tailFrom = this.#tail.from(next.acknowledgedLsn);
      return tailFrom === undefined ? next : { ...next, tailFrom };
    });
    if (this.#state.routes.every(({ phase }) => phase !== 'appending'))
      this.#tail.note(stream.reachedLsn, this.#state.logEnds);
  }

  /** By partition, the newest record in the log of a lane, for those that may come again. Nothing may be on its way there. */
  async logged(): Promise<Pick<LogTail, 'newestOf' | 'newestCommit'>> {
    const { routes, tailFrom } = this.#state;
    await this.#tail.read(new Set(routes.map(({ route }) => route)), tailFrom);
    return this.#tail;
  }

  /** Ends routes of which it was found that they cannot go on: they begin anew. */
  async end(ended: readonly Ended[]): Promise<void> {
    const { clock, logger } = this.#options;
    await this.update((before) => {
      const state = endRoutes(before, ended, clock.nowUs());
      if (state !== before) for (const { route, why } of ended) logger.warn('a route begins anew', { route, why });
      return state;
    });
  }

  /** Saves routes that were staged; what was lost before is then read anew from where they begin. */
  async staged(routes: readonly RouteState[]): Promise<void> {
    await this.update((before) => {
      const state = withRoutes(before, routes);
      const { loss } = state;
      const isDone = loss !== undefined && loss.toLsn === undefined;
      return isDone ? { ...state, loss: { ...loss, toLsn: routes[0]?.fromLsn } } : state;
    });
  }

  /** Carries out the request to start over, unless it was carried out. */
  async resync(session: DatabaseSession): Promise<void> {
    const { resync } = this.#options;
    if (resync === undefined || resync === this.#state.resync) return;
    await this.#startOver({ resync }, session);
    await this.#mark.save(resync);
  }

  /** Starts over because the history was lost; `session`: where our slot is still to be dropped. */
  rebuild(what: string, session: DatabaseSession | undefined): Promise<void> {
    const loss = { atUs: this.#options.clock.nowUs(), what, fromLsn: this.#state.acknowledgedLsn };
    return this.#startOver({ loss }, session);
  }

  /** Tells of a loss of history, or that it is no news any more. */
  noteHistory(): void {
    const { name, clock, conditions } = this.#options;
    const notice = historyNotice(this.#state.loss, name, clock.nowUs());
    if (notice === undefined) conditions.clear(`source/${name}/history`);
    else conditions.raise(`source/${name}/history`, notice);
  }

  async #startOver(why: Parameters<typeof startedOver>[1], session: DatabaseSession | undefined): Promise<void> {
    const { slotName, logger } = this.#options;
    logger.warn('starting over', { slot: slotName, ...('resync' in why ? why : { why: why.loss.what }) });
    await session?.dropSlot(slotName);
    await this.save(startedOver(this.#state, why));
    this.#tail.startOver();
  }
}
