/** Compute's options. */
import { type ConfigOf, parsers } from '@freshet/kit/config.ts';

export const OPTIONS = {
  listen: {
    description: 'where gRPC is served; port 0 takes any free one',
    form: 'host:port',
    parse: parsers.address,
    fallback: '127.0.0.1:7402',
  },
  httpListen: {
    description: 'where GET /metrics is answered, over HTTP; port 0 takes any free one',
    form: 'host:port',
    parse: parsers.address,
    fallback: '127.0.0.1:7412',
  },
  advertise: {
    description: 'where other nodes reach this one, if not where it listens',
    form: 'host:port',
    parse: parsers.address,
    fallback: null,
  },
  registry: {
    description: 'the registry, by which the log is found and this node announced',
    form: 'host:port',
    parse: parsers.address,
    fallback: null,
  },
  log: {
    description: 'the ingest node whose log is folded, instead of the one that the registry knows',
    form: 'host:port',
    parse: parsers.address,
    fallback: null,
  },
  dataDir: {
    description: 'where state is kept; all of it can be made again from the log',
    form: 'directory',
    parse: parsers.text,
  },
  shards: {
    description: 'the shards to fold',
    form: 'all, or numbers such as 0,1,4-7',
    parse: parseShards,
    fallback: 'all',
  },
  cacheBytes: {
    description:
      'what all shards together may take of memory: state, changes for followers, stores; beside it up to 550MiB',
    form: 'size',
    parse: parsers.bytes,
    fallback: '512MiB',
  },
  commitInterval: {
    description: 'how often what changed is written to disk; a crash folds as much again',
    form: 'duration',
    parse: parsers.milliseconds,
    fallback: '1s',
  },
  journalAge: {
    description: 'how long a follower may be away and still catch up by changes alone',
    form: 'duration',
    parse: parsers.milliseconds,
    fallback: '6h',
  },
  journalBytes: {
    description: "the journal of a shard's changes at most, whatever their age",
    form: 'size',
    parse: parsers.bytes,
    fallback: '64MiB',
  },
  checkpointInterval: {
    description: 'how often a verified copy of each shard is written, if its state changed',
    form: 'duration',
    parse: parsers.milliseconds,
    fallback: '10m',
  },
  checkpointsKept: {
    description: 'how many checkpoints of each shard are kept; the log is kept from the oldest of them on',
    form: 'number',
    parse: parsers.integer(1, 100),
    fallback: '3',
  },
  scrubInterval: {
    description: 'how often all that is stored is read through for damage, and soon after each start',
    form: 'duration',
    parse: parsers.milliseconds,
    fallback: '24h',
  },
  scrubRate: {
    description: 'what a scrub reads a second at most',
    form: 'size',
    parse: parsers.bytes,
    fallback: '32MiB',
  },
  logLevel: {
    description: 'the least level of log lines that are written: debug, info, warn or error',
    form: 'level',
    parse: parsers.oneOf('debug', 'info', 'warn', 'error'),
    fallback: 'info',
  },
} as const;

export type ComputeConfig = ConfigOf<typeof OPTIONS>;

/** The greatest number of partitions that a log may have, as SubscribeChanges takes cursors. */
const SHARDS_MAX = 4096;

/** "all" or a list of numbers and ranges, ascending and without doubles. */
export function parseShards(text: string): 'all' | readonly number[] {
  if (text === 'all') return 'all';
  const numbers = new Set<number>();
  for (const part of text.split(',')) {
    const match = /^\s*(\d{1,4})(?:-(\d{1,4}))?\s*$/.exec(part);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (match === null || last < first || last >= SHARDS_MAX) {
      throw new Error(`"${part}" is not a shard's number or a range of them`);
    }
    for (let number = first; number <= last; number++) numbers.add(number);
  }
  return [...numbers].sort((a, b) => a - b);
}
