/** Ingest's options. */
import { readFileSync } from 'node:fs';
import { type ConfigOf, parsers } from '@freshet/kit/config.ts';

/** A database to capture: the name it has in definitions, and its URL. */
export interface DatabaseOption {
  readonly name: string;
  readonly url: string;
}

/** The name becomes part of the slot's, which takes these characters. */
const DATABASE_NAME = /^[a-z][a-z0-9_]{0,39}$/;

function parseDatabase(text: string): DatabaseOption {
  const at = text.indexOf('=');
  const name = text.slice(0, Math.max(at, 0));
  const value = text.slice(at + 1);
  // The value may hold a password: it is never repeated.
  if (at < 0) throw new Error('the database has no name');
  if (!DATABASE_NAME.test(name)) throw new Error(`"${name}" is no name: small letters, digits and _ only, at most 40`);
  if (!value.startsWith('@')) return { name, url: value };
  try {
    return { name, url: readFileSync(value.slice(1), 'utf8').trim() };
  } catch (error) {
    throw new Error(`the file with the URL of ${name} cannot be read: ${(error as Error).message}`);
  }
}

export const OPTIONS = {
  dataDir: {
    description: 'where the log, the quarantine and the sources’ state are kept',
    form: 'directory',
    parse: parsers.text,
  },
  listen: {
    description: 'where gRPC is served; port 0 takes any free one',
    form: 'host:port',
    parse: parsers.address,
    fallback: '127.0.0.1:7401',
  },
  advertise: {
    description: 'where others reach this node, if not where it listens',
    form: 'host:port',
    parse: parsers.address,
    fallback: null,
  },
  registry: {
    description: 'the registry; without it the definitions last known stay in force',
    form: 'host:port',
    parse: parsers.address,
    fallback: null,
  },
  partitions: {
    description: 'the number of partitions of a new log; fixed from then on',
    form: 'number',
    parse: parsers.integer(1, 1024),
    fallback: '8',
  },
  postgres: {
    description: 'a database to capture: name=postgres://user:password@host:5432/database, or name=@file with the URL',
    form: 'name=url',
    parse: parseDatabase,
    many: true,
  },
  slotName: {
    description: 'the prefix of replication slots and publications: <prefix>_<database name>',
    form: 'name',
    parse: (text: string): string => {
      if (!/^[a-z][a-z0-9_]{0,15}$/.test(text))
        throw new Error(`"${text}" is no name: small letters, digits and _ only, at most 16`);
      return text;
    },
    fallback: 'freshet',
  },
  resync: {
    description: 'start over with a database: a new slot, and every table read anew; give it for one start only',
    form: 'name',
    parse: parsers.text,
    many: true,
  },
  inFlight: {
    description: 'the most that is held in memory between the databases and the log',
    form: 'bytes',
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

export type IngestConfig = ConfigOf<typeof OPTIONS>;
