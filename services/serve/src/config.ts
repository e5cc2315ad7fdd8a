/** Serve's options. */
import { type ConfigOf, parsers } from '@freshet/kit/config.ts';

export const OPTIONS = {
  listen: {
    description: 'where gRPC is served; port 0 takes any free one',
    form: 'host:port',
    parse: parsers.address,
    fallback: '127.0.0.1:7403',
  },
  httpListen: {
    description: 'where Connect and JSON over HTTP are served, and GET /metrics',
    form: 'host:port',
    parse: parsers.address,
    fallback: '127.0.0.1:7413',
  },
  advertise: {
    description: 'where other nodes reach this one, if not where it listens',
    form: 'host:port',
    parse: parsers.address,
    fallback: null,
  },
  registry: {
    description: 'the registry, by which definitions and compute nodes are found; without it, those on disk serve',
    form: 'host:port',
    parse: parsers.address,
    fallback: null,
  },
  compute: {
    description: 'a compute node to follow, instead of those that the registry knows',
    form: 'host:port',
    parse: parsers.address,
    fallback: null,
    many: true,
  },
  partitions: {
    description: 'the number of partitions of the log; 0 learns it',
    form: 'number',
    parse: parsers.integer(0, 4096),
    fallback: '0',
  },
  dataDir: {
    description: 'where the replica is kept',
    form: 'directory',
    parse: parsers.text,
  },
  coalesce: {
    description: 'the least time between changes of a shard; more of it saves traffic across a slow link',
    form: 'duration',
    parse: parsers.milliseconds,
    fallback: '0ms',
  },
  flushInterval: {
    description: 'how often the replica is written to disk; a crash follows as much again',
    form: 'duration',
    parse: parsers.milliseconds,
    fallback: '200ms',
  },
  memoryBudget: {
    description: 'what rows may take of memory; beyond it the replica takes no more and says so; 0: as the heap allows',
    form: 'bytes',
    parse: parsers.bytes,
    fallback: '0',
  },
  scrubInterval: {
    description: "how often the replica's files are looked through for damage; 0s: only at the start",
    form: 'duration',
    parse: parsers.milliseconds,
    fallback: '1h',
  },
  scrubRate: {
    description: 'how much of them a second',
    form: 'bytes',
    parse: parsers.bytes,
    fallback: '16MiB',
  },
  decodedRows: {
    description:
      'rows whose values of the moment are kept decoded; fewer where texts or lists are longer than 256 bytes',
    form: 'number',
    parse: parsers.integer(1, 100_000_000),
    fallback: '100000',
  },
  logLevel: {
    description: 'the least level of log lines that are written: debug, info, warn or error',
    form: 'level',
    parse: parsers.oneOf('debug', 'info', 'warn', 'error'),
    fallback: 'info',
  },
} as const;

export type ServeConfig = ConfigOf<typeof OPTIONS>;
