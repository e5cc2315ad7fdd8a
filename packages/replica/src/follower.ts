/**
 * Follows every shard that is offered, each from a node of its own choice.
 *
 * Owns: one link per shard (shard-link.ts), the connections that they share, and the watch over silent nodes. A stream
 * per shard and not per node: what ends one shard's, or moves it to another node, leaves the passes of the others alone.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { ChangesClient } from './connections.ts';
import { Connections } from './connections.ts';
import { type LinkReport, ShardLink, type ShardLinkOptions } from './shard-link.ts';
import type { Upstream } from './upstreams.ts';

export interface FollowerOptions extends Omit<ShardLinkOptions, 'connections'> {
  readonly connect: (address: string) => ChangesClient;
}

const WATCH_MS = 1_000;

export class Follower {
  readonly #options: ShardLinkOptions;
  readonly #clock: Clock;
  readonly #connections: Connections;
  readonly #links = new Map<number, ShardLink>();
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;

  constructor(options: FollowerOptions) {
    this.#connections = new Connections(options.connect);
    this.#options = { ...options, connections: this.#connections };
    this.#clock = options.clock;
    this.#watching = this.#watch();
  }

  /** How the shard is followed; undefined when nobody ever offered it. */
  report(shard: number): LinkReport | undefined {
    return this.#links.get(shard)?.report();
  }

  /** Takes who offers which shards. Streams from nodes that still offer their shard go on. */
  setUpstreams(upstreams: readonly Upstream[]): void {
    if (this.#stop.signal.aborted) return;
    const offers = new Map<number, string[]>();
    for (const { address, shards } of upstreams) {
      for (const shard of new Set(shards)) offers.set(shard, [...(offers.get(shard) ?? []), address]);
    }
    for (const shard of offers.keys()) {
      if (!this.#links.has(shard)) this.#links.set(shard, new ShardLink(shard, this.#options));
    }
    for (const [shard, link] of this.#links) link.offer(offers.get(shard) ?? []);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all([...this.#links.values()].map((link) => link.stop()));
    await this.#watching;
    this.#connections.closeAll();
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#clock.sleep(WATCH_MS, signal).catch(() => undefined);
      for (const link of this.#links.values()) link.watch();
      this.#connections.closeIdle(this.#clock.monotonicUs());
    }
  }
}
