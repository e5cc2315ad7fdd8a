/** Where followers find shards. shard-host.ts is one; a rig with a single shard is another. */
import type { FreshetError } from '@freshet/kit/errors.ts';
import type { Shard } from './shard.ts';

export interface ShardSource {
  /** The shards that run now, by number ascending. */
  readonly shards: readonly Shard[];
  /** A shard; undefined when it does not run here (now). */
  shard(number: number): Shard | undefined;
  /** Whether the shard is meant to run here, be it that it is halted or starting just now. */
  holds(number: number): boolean;
  /** Why a shard that is meant to run here went down; undefined while it runs, or when it never did. */
  whyDown(number: number): FreshetError | undefined;
  /** Calls back when a shard came or went, or when it is known why; returns what undoes that. */
  listen(listener: () => void): () => void;
}

/** A source of one shard that does not change. */
export function singleShard(shard: Shard): ShardSource {
  return {
    shards: [shard],
    shard: (number) => (number === shard.shard ? shard : undefined),
    holds: (number) => number === shard.shard,
    whyDown: () => undefined,
    listen: () => () => undefined,
  };
}
