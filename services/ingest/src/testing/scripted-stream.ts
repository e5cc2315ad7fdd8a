/**
 * A replication stream of the scripted database (scripted-database.ts): its commits in order, cut anywhere.
 */
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { PgOutputMessage } from '../core/pgoutput/messages.ts';
import type { ClusterIdentity, ReplicationStream, StreamMessage } from '../core/source-database.ts';
import { descriptionOf } from './scripted-fills.ts';

export interface Commit {
  readonly lsn: bigint;
  readonly endLsn: bigint;
  readonly timeUs: number;
  readonly messages: readonly PgOutputMessage[];
}

interface StreamWorld {
  readonly commits: readonly Commit[];
  readonly confirmed: () => bigint;
  readonly end: () => bigint;
  readonly told: (position: bigint) => void;
  readonly left: () => void;
  readonly random: () => number;
  readonly identity: ClusterIdentity;
}

export class ScriptedStream implements ReplicationStream {
  readonly senderTimeoutMs = 60_000;
  readonly #world: StreamWorld;
  readonly #described = new Map<number, string>();
  #next = 0;
  #within = 0;
  #answerWanted = false;
  #broken: Error | undefined;
  #waiting: (() => void) | undefined;
  readonly identity: ClusterIdentity;

  constructor(world: StreamWorld) {
    this.#world = world;
    this.identity = world.identity;
  }

  start(from: bigint): Promise<void> {
    const confirmed = this.#world.confirmed();
    const position = from > confirmed ? from : confirmed;
    this.#next = this.#world.commits.findIndex(({ lsn }) => lsn >= position);
    if (this.#next < 0) this.#next = this.#world.commits.length;
    return Promise.resolve();
  }

  async read(signal: AbortSignal): Promise<Iterable<StreamMessage>> {
    const wake = (): void => this.wake();
    signal.addEventListener('abort', wake, { once: true });
    try {
      for (;;) {
        if (this.#broken !== undefined) throw this.#broken;
        if (signal.aborted) throw new FreshetError('CANCELLED', 'reading was given up');
        const messages = this.#take();
        if (messages.length > 0) return messages;
        await new Promise<void>((resolve) => {
          this.#waiting = resolve;
        });
      }
    } finally {
      signal.removeEventListener('abort', wake);
    }
  }

  tell(position: bigint, _nowUs: number, answer: boolean): void {
    if (this.#broken !== undefined) throw this.#broken;
    this.#world.told(position);
    if (!answer) return;
    this.#answerWanted = true;
    this.wake();
  }

  destroy(reason: Error): void {
    this.#broken ??= reason;
    this.#world.left();
    this.wake();
  }

  close(): Promise<void> {
    this.destroy(unreachable('it was closed'));
    return Promise.resolve();
  }

  /** Lets whoever reads look again. */
  wake(): void {
    this.#waiting?.();
    this.#waiting = undefined;
  }

  /** Some messages, cut anywhere. */
  #take(): StreamMessage[] {
    const { commits, end, random } = this.#world;
    const messages: StreamMessage[] = [];
    const most = 1 + Math.floor(random() * 12);
    while (messages.length < most) {
      const commit = commits[this.#next];
      if (commit === undefined) break;
      const message = must(commit.messages[this.#within]);
      // A relation is described once a stream, and when it changed.
      const isKnown =
        message.kind === 'relation' && this.#described.get(message.relation.id) === descriptionOf(message.relation);
      if (message.kind === 'relation') this.#described.set(message.relation.id, descriptionOf(message.relation));
      if (!isKnown) messages.push({ kind: 'change', serverLsn: commit.endLsn, message });
      this.#within += 1;
      if (this.#within < commit.messages.length) continue;
      this.#within = 0;
      this.#next += 1;
    }
    if (messages.length === 0 && this.#answerWanted) {
      this.#answerWanted = false;
      messages.push({ kind: 'keepalive', serverLsn: end(), replyWanted: false });
    }
    return messages;
  }
}

export function unreachable(message: string): FreshetError {
  return new FreshetError('SOURCE_UNREACHABLE', message);
}
