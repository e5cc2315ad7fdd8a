/** Ingest's options, and what they must be to each other. */
import { readFileSync } from 'node:fs';
import { type ConfigOf, parsers } from '@freshet/kit/config.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { RECORD_BYTES_MAX } from '@freshet/log/frame.ts';
import { PENDING_BYTES_MAX, SEGMENT_BYTES } from '@freshet/log/limits.ts';

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

/** A request to start over with a database: once for each word. */
export interface ResyncOption {
  readonly name: string;
  readonly word: string;
}

function parseResync(text: string): ResyncOption {
  const match = /^([a-z][a-z0-9_]{0,39})=([A-Za-z0-9._:-]{1,64})$/.exec(text);
  if (match === null)
    throw new Error(
      `"${text}" is not <database>=<word>; the word names the request, which is carried out once: a date will do`,
    );
  return { name: match[1] ?? '', word: match[2] ?? '' };
}

const AGE_UNITS_US = { s: 1e6, m: 60e6, h: 3_600e6, d: 86_400e6 } as const;

function parseAge(text: string): number {
  const match = /^([1-9]\d{0,5})([smhd])$/.exec(text);
  if (match === null) throw new Error(`"${text}" is not an age such as 12h or 7d`);
  return Number(match[1]) * AGE_UNITS_US[match[2] as keyof typeof AGE_UNITS_US];
}

function parseAgeOrNone(text: string): number | undefined {
  return text === 'none' ? undefined : parseAge(text);
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
  httpListen: {
    description: 'where GET /metrics is answered, over HTTP; port 0 takes any free one',
    form: 'host:port',
    parse: parsers.address,
    fallback: '127.0.0.1:7411',
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
    description:
      'start over with a database, once for each word: a new slot, and every table read anew; it may stay on the command line',
    form: 'name=word',
    parse: parseResync,
    many: true,
  },
  onLostHistory: {
    description:
      'what to do when a database lost its history (slot lost, restored, failed over): rebuild reads everything anew, halt waits for --resync',
    form: 'rebuild|halt',
    parse: parsers.oneOf('rebuild', 'halt'),
    fallback: 'rebuild',
  },
  retainAge: {
    description: 'how long records are kept that no checkpoint needs any more; none: for ever',
    form: 'age',
    parse: parseAgeOrNone,
    fallback: '7d',
  },
  retainBytes: {
    description: 'what the log may take on the disk, all partitions together; what no checkpoint allows away stays',
    form: 'bytes',
    parse: parsers.bytes,
    fallback: null,
  },
  checkpointNodeTimeout: {
    description: 'how long a compute node may be silent until it no longer holds the log back',
    form: 'age',
    parse: parseAge,
    fallback: '7d',
  },
  inFlight: {
    description: 'the most that is held in memory between the databases and the log',
    form: 'bytes',
    parse: parsers.bytes,
    fallback: '32MiB',
  },
  quarantineBytesMax: {
    description:
      'the most that rows in quarantine take on the disk; when it is full, capture of what would go there waits',
    form: 'bytes',
    parse: parsers.bytes,
    fallback: '1GiB',
  },
  logLevel: {
    description: 'the least level of log lines that are written: debug, info, warn or error',
    form: 'level',
    parse: parsers.oneOf('debug', 'info', 'warn', 'error'),
    fallback: 'info',
  },
} as const;

export type IngestConfig = ConfigOf<typeof OPTIONS>;

const MIB = 1024 ** 2;
/** Less, and a single large row would stop a database again and again to wait for the log. */
const IN_FLIGHT_BYTES_MIN = MIB;

/** What no option can see by itself. Throws INVALID_CONFIG. */
export function checkConfig(config: IngestConfig): void {
  checkDatabases(config);
  checkInFlight(config);
  checkRetention(config);
}

function checkDatabases({ postgres, resync }: IngestConfig): void {
  const names = postgres.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new FreshetError('INVALID_CONFIG', `--postgres names ${twice} twice`, {
      remedy: 'Give each database a name of its own.',
    });
  for (const [i, { name }] of resync.entries()) {
    if (!names.includes(name)) {
      throw new FreshetError('INVALID_CONFIG', `--resync ${name}: there is no such database`, {
        remedy: `Name one of: ${names.join(', ')}`,
      });
    }
    if (resync.findIndex((other) => other.name === name) !== i) {
      throw new FreshetError('INVALID_CONFIG', `--resync names ${name} twice`, { remedy: 'Keep the newer word.' });
    }
  }
}

/** What the databases may have on its way must fit into what the log takes in, with room for one append at its largest. */
function checkInFlight({ inFlight, postgres }: IngestConfig): void {
  const most = PENDING_BYTES_MAX - RECORD_BYTES_MAX;
  if (inFlight > most) {
    throw new FreshetError('INVALID_CONFIG', `--in-flight ${inFlight} is more than the log takes in at once`, {
      remedy: `Give at most ${most / MIB}MiB.`,
    });
  }
  const least = IN_FLIGHT_BYTES_MIN * Math.max(1, postgres.length);
  if (inFlight < least) {
    throw new FreshetError('INVALID_CONFIG', `--in-flight ${inFlight} is too little for ${postgres.length} databases`, {
      remedy: `Give at least ${least / MIB}MiB: 1MiB for each database.`,
    });
  }
}

/** A limit that could never be kept would be told of for ever: the newest segment of a partition always stays. */
function checkRetention({ retainBytes, partitions }: IngestConfig): void {
  const least = 2 * SEGMENT_BYTES * partitions;
  if (retainBytes === undefined || retainBytes >= least) return;
  throw new FreshetError(
    'INVALID_CONFIG',
    `--retain-bytes ${retainBytes} cannot be kept with ${partitions} partitions`,
    {
      remedy: `Give at least ${least / MIB}MiB: two segments of ${SEGMENT_BYTES / MIB} MiB for each partition; or none.`,
    },
  );
}
