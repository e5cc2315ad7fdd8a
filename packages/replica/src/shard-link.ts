/**
 * Follows one shard from one of the nodes that offer it, for ever.
 *
 *     choosing ──▶ resting, if all have failed ──▶ following ──ends, stands still, cannot be followed there──▶ choosing
 *
 * A node that lost its state names none of the views that it has yet to build anew. What is read of them stays, and stands still,
 * while the shard's log time moves on: so such a node is left too, if another offers the shard. Alone it is better than none.
 *
 * Owns: the stream, and when it is left for another node. Does not own: what frames mean (replica-state.ts), the choice
 * (upstreams.ts). Rows are the same on every node that folds the log (F1), so the cursor holds wherever the shard is
 * followed from next.
 *
 * Invariants: R1 (one stream of a shard at a time, opened at its cursor, its frames applied in their order; a frame that
 * does not continue ends it). R3 (rows are begun anew, by another log or another history, only when no node can be hoped
 * to have them as we have them).
 */
import type { SubscribeChangesResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError, isAbort } from '@freshet/kit/errors.ts';
import { toFreshetError } from '@freshet/kit/grpc/error-mapping.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { Connections } from './connections.ts';
import { inSequence } from './frame-sequence.ts';
import type { ReplicaState } from './replica-state.ts';
import { chooseUpstream, type Fault, Standing } from './upstreams.ts';

/** Upstream says something every second, by the log's ticks; one that is silent so long is left, microseconds. */
const SILENCE_US = 10_000_000;
/** One that speaks, but whose completeness stands still so long, or that lacks a served view so long, is left for another. */
const STANDSTILL_US = 15_000_000;
/** A stream that went well for so long makes up for failures before it: one that fails again and again never does. */
const WELL_US = 2_000_000;
/** Without memory for more rows, trying again soon is of no use. */
const SHORT_OF_MEMORY_MS = 5_000;

export interface ShardLinkOptions {
  readonly state: ReplicaState;
  readonly connections: Connections;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
  readonly yieldNow: () => Promise<unknown>;
  /** Resolves when the disk keeps up; called after every frame. */
  readonly pressure: () => Promise<void> | undefined;
  /** The least time between frames, microseconds. */
  readonly coalesceUs: number;
}

/** How it is with a shard's upstream. */
export interface LinkReport {
  /** The node that it is followed from; undefined while it is not. */
  readonly upstream: string | undefined;
  /** Why it is not followed; the last reason there was. */
  readonly reason: string;
  /** Microseconds, by a clock that does not jump, since completeness last moved, or since the start. */
  readonly standstillUs: number;
}

export class ShardLink {
  readonly shard: number;
  readonly #options: ShardLinkOptions;
  readonly #standing: Standing;
  #offering: readonly string[] = [];
  #last: string | undefined;
  /** The stream, as long as there is one. */
  #stream: { readonly address: string; readonly controller: AbortController; upUs: number | undefined } | undefined;
  /** Why the stream is being left, and whether it is the node's fault; set before it is aborted. */
  #leaving: { readonly reason: string; readonly fault: Fault | undefined } | undefined;
  #wake = new AbortController();
  #stopped = false;
  #reason = 'no node offers it';
  /** Upstream said that it cannot be followed there for now. */
  #unavailable = false;
  /** Since when upstream is waited for, monotonic microseconds; undefined while a frame is applied. */
  #waitsSinceUs: number | undefined;
  #movedUs: number;
  /** Since when upstream lacks a view that is served, monotonic microseconds. */
  #lacksSinceUs: number | undefined;
  readonly #done: Promise<void>;

  constructor(shard: number, options: ShardLinkOptions) {
    this.shard = shard;
    this.#options = options;
    this.#standing = new Standing(options.random);
    this.#movedUs = options.clock.monotonicUs();
    this.#done = this.#run();
  }

  /** Takes which nodes offer the shard. */
  offer(addresses: readonly string[]): void {
    if (sameList(addresses, this.#offering)) return;
    this.#offering = addresses;
    this.#standing.keep(addresses);
    if (this.#stream !== undefined && !addresses.includes(this.#stream.address)) {
      this.#leave('it no longer offers the shard', undefined);
    }
    this.#wake.abort();
  }

  report(): LinkReport {
    const { upUs, address } = this.#stream ?? {};
    const follows = upUs !== undefined && !this.#unavailable;
    return {
      upstream: follows ? address : undefined,
      reason: follows ? '' : this.#reason,
      standstillUs: this.#options.clock.monotonicUs() - this.#movedUs,
    };
  }

  /** Leaves a node that is silent, or behind while another may not be; to be called about every second. */
  watch(): void {
    const stream = this.#stream;
    if (stream === undefined || this.#waitsSinceUs === undefined) return;
    const nowUs = this.#options.clock.monotonicUs();
    if (nowUs - this.#waitsSinceUs >= SILENCE_US) this.#leave('it was silent for long', 'failed');
    this.#lacksSinceUs = this.#options.state.lacksServed(this.shard) ? (this.#lacksSinceUs ?? nowUs) : undefined;
    const another = this.#standing.hasBetterThan(stream.address, this.#offering, nowUs);
    if (!another) return;
    if (this.#unavailable) this.#leave(this.#reason, 'failed');
    const { upUs } = stream;
    if (upUs === undefined || this.#catchesUp) return;
    if (nowUs - Math.max(this.#movedUs, upUs) >= STANDSTILL_US) this.#leave('it stands still', 'failed');
    if (nowUs - Math.max(this.#lacksSinceUs ?? nowUs, upUs) >= STANDSTILL_US)
      this.#leave('it lacks a view that is served here', 'failed');
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#leave('stopping', undefined);
    this.#wake.abort();
    await this.#done;
  }

  get #catchesUp(): boolean {
    const shard = this.#options.state.shards.get(this.shard);
    return shard !== undefined && (shard.incoming !== undefined || shard.served.catchingUp || !shard.served.whole);
  }

  #leave(reason: string, fault: Fault | undefined): void {
    if (this.#stream === undefined || this.#leaving !== undefined) return;
    this.#leaving = { reason, fault };
    this.#stream.controller.abort();
  }

  async #run(): Promise<void> {
    const { clock, connections } = this.#options;
    while (!this.#stopped) {
      const nowUs = clock.monotonicUs();
      const load = (address: string): number => connections.load(address);
      const choice = chooseUpstream(this.#offering, this.#last, this.#standing, { nowUs, load });
      if (choice === undefined) await this.#sleep(undefined);
      else if (choice.notBeforeUs > nowUs) await this.#sleep(Math.ceil((choice.notBeforeUs - nowUs) / 1000));
      else await this.#follow(choice.address);
    }
  }

  /** Until something changes, or the time is up. */
  async #sleep(ms: number | undefined): Promise<void> {
    this.#wake = new AbortController();
    const { signal } = this.#wake;
    if (this.#stopped) return;
    if (ms !== undefined) await this.#options.clock.sleep(ms, signal).catch(() => undefined);
    else await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }

  async #follow(address: string): Promise<void> {
    const { connections, clock, log, state } = this.#options;
    const controller = new AbortController();
    this.#last = address;
    this.#leaving = undefined;
    this.#unavailable = false;
    this.#stream = { address, controller, upUs: undefined };
    const client = connections.take(address);
    let failure: unknown = new FreshetError('UNAVAILABLE', 'the stream ended');
    try {
      const request = {
        shards: [state.cursor(this.shard)],
        coalesceUs: BigInt(this.#options.coalesceUs),
      };
      this.#waitsSinceUs = clock.monotonicUs();
      for await (const frame of inSequence(client.subscribeChanges(request, { signal: controller.signal }))) {
        if (controller.signal.aborted) break;
        this.#waitsSinceUs = undefined;
        await this.#take(frame, address);
        this.#waitsSinceUs = clock.monotonicUs();
      }
    } catch (error) {
      failure = error;
    }
    const nowUs = clock.monotonicUs();
    this.#stream = undefined;
    this.#waitsSinceUs = undefined;
    state.disconnected([this.shard]);
    connections.release(address, nowUs);
    if (this.#stopped) return;
    const { reason, fault, isShort } = this.#judge(failure);
    this.#reason = `${address}: ${reason}`;
    if (fault !== undefined) this.#standing.note(address, fault, nowUs);
    log.debug('a shard is no longer followed', { shard: this.shard, address, reason });
    if (isShort) await this.#sleep(SHORT_OF_MEMORY_MS);
  }

  #judge(failure: unknown): { reason: string; fault: Fault | undefined; isShort: boolean } {
    if (this.#leaving !== undefined) return { ...this.#leaving, isShort: false };
    const error = toFreshetError(failure);
    if (error.code === 'INTERNAL' && !isAbort(failure)) {
      this.#options.log.warn('applying changes failed', { shard: this.shard, error: error.cause ?? error });
    }
    const isShort = error.code === 'LIMIT_EXCEEDED';
    return { reason: error.message, fault: isShort ? undefined : 'failed', isShort };
  }

  async #take(frame: SubscribeChangesResponse, address: string): Promise<void> {
    const { state, clock, pressure, yieldNow } = this.#options;
    const stream = this.#stream;
    if (stream === undefined || frame.shard !== this.shard) return;
    if (frame.unavailable !== undefined) {
      this.#unavailable = true;
      this.#reason = `${address}: ${frame.unavailable.message}`;
      // R3: what comes next is of another life of the shard, as if the stream had ended, and maybe of another history.
      state.disconnected([this.shard]);
      // It goes on there by itself; but another node may have the shard now.
      const another = this.#standing.hasBetterThan(address, this.#offering, clock.monotonicUs());
      if (another) this.#leave(frame.unavailable.message, 'failed');
      return;
    }
    this.#unavailable = false;
    const anew = state.beginsAnew(frame);
    if (anew !== undefined && !this.#standing.mayBeginAnew(address, this.#offering)) {
      this.#leave(`it ${anew}`, 'foreign');
      return;
    }
    const before = state.shards.get(this.shard)?.served.completeThroughUs ?? 0;
    const applied = state.apply(frame);
    if (applied.outcome === 'refused') throw new FreshetError(applied.code ?? 'UNAVAILABLE', applied.reason);
    if (applied.rest !== undefined) for (const _ of applied.rest) await yieldNow();
    const nowUs = clock.monotonicUs();
    if ((state.shards.get(this.shard)?.served.completeThroughUs ?? 0) > before) this.#movedUs = nowUs;
    stream.upUs ??= nowUs;
    if (nowUs - stream.upUs >= WELL_US) this.#standing.clear(address);
    await pressure();
  }
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((address, i) => address === b[i]);
}
