/**
 * Configuration from one table of options per service: name, parser, default, unit and description. The command line
 * (--data-dir), the environment (FRESHET_DATA_DIR) and --help all come from the table. Anything unknown or unreadable
 * stops the process before it does anything (INVALID_CONFIG, exit 78). process.env is read by mains only and passed in.
 */

import { closest } from './closest.ts';
import { FreshetError } from './errors.ts';

export interface Option<T> {
  readonly description: string;
  /** How the value is written, for --help: "host:port", "bytes". */
  readonly form: string;
  /** Turns text into the value, or throws an Error that says what is expected. */
  readonly parse: (text: string) => T;
  /** The text of the default; undefined: the option must be given; null: it may be left out. */
  readonly fallback?: string | null | undefined;
  /** May be given several times. */
  readonly many?: boolean | undefined;
}

// biome-ignore lint/suspicious/noExplicitAny: a table holds options of any type; each is read back with its own.
export type OptionTable = Readonly<Record<string, Option<any>>>;

export type ConfigOf<T extends OptionTable> = {
  readonly [K in keyof T]: T[K] extends Option<infer V>
    ? T[K]['many'] extends true
      ? readonly V[]
      : T[K]['fallback'] extends null
        ? V | undefined
        : V
    : never;
};

/** Reads the table's values; the command line wins over the environment. Throws INVALID_CONFIG that names every problem. */
export function readConfig<T extends OptionTable>(
  table: T,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): ConfigOf<T> {
  const problems: FreshetError[] = [];
  const given = new Map<string, string[]>();
  readArguments(table, args, given, problems);
  readEnvironment(table, env, given, problems);
  const config: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(table)) {
    const texts = given.get(key) ?? (typeof option.fallback === 'string' && !option.many ? [option.fallback] : []);
    try {
      const values = texts.map((text) => option.parse(text));
      if (option.many) config[key] = values;
      else if (values.length > 0) config[key] = values[values.length - 1];
      else if (option.fallback === null) config[key] = undefined;
      else
        problems.push(
          problem(`--${flagOf(key)} is missing`, `give --${flagOf(key)} <${option.form}>: ${option.description}`),
        );
    } catch (error) {
      problems.push(
        problem(`--${flagOf(key)}: ${(error as Error).message}`, `expected ${option.form}: ${option.description}`),
      );
    }
  }
  const [first, ...rest] = problems;
  if (first !== undefined) {
    throw new FreshetError('INVALID_CONFIG', first.message, { remedy: first.remedy, also: rest });
  }
  return config as ConfigOf<T>;
}

/** What may be the name of an option, and so may be told. */
const FLAG = /^[A-Za-z][\w-]*$/;

function readArguments(
  table: OptionTable,
  args: readonly string[],
  given: Map<string, string[]>,
  problems: FreshetError[],
): void {
  const flags = new Map(Object.keys(table).map((key) => [flagOf(key), key]));
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? '';
    // Values are never told: what stands in a wrong place may be a password, and this text goes into logs.
    const [flag, inline] = splitOnce(arg.slice(2), '=');
    if (!arg.startsWith('--') || !FLAG.test(flag)) {
      problems.push(problem(`argument ${i + 1} is not an option`, 'write options as --name=value; see --help'));
      continue;
    }
    const key = flags.get(flag);
    if (key === undefined) {
      const near = closest(flag, [...flags.keys()]);
      problems.push(problem(`--${flag} is not an option`, near ? `did you mean --${near}?` : 'see --help'));
      continue;
    }
    // A forgotten value must not make the next option a value; one that begins so is written with =.
    const value = inline ?? (args[i + 1]?.startsWith('--') ? undefined : args[++i]);
    if (value === undefined) problems.push(problem(`--${flag} has no value`, `expected ${table[key]?.form}`));
    else given.set(key, [...(given.get(key) ?? []), value]);
  }
}

function readEnvironment(
  table: OptionTable,
  env: Readonly<Record<string, string | undefined>>,
  given: Map<string, string[]>,
  problems: FreshetError[],
): void {
  const names = new Map(Object.keys(table).map((key) => [envOf(key), key]));
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith('FRESHET_') || value === undefined) continue;
    const key = names.get(name);
    if (key === undefined) {
      const near = closest(name, [...names.keys()]);
      problems.push(problem(`${name} is not a setting`, near ? `did you mean ${near}?` : 'unset it; see --help'));
    } else if (!given.has(key)) given.set(key, [value]);
  }
}

/** The text of --help. */
export function helpText(name: string, about: string, table: OptionTable): string {
  const rows = Object.entries(table).map(([key, option]) => {
    const fallback =
      typeof option.fallback === 'string'
        ? ` (default ${option.fallback})`
        : option.fallback === null || option.many
          ? ''
          : ' (required)';
    return [
      `  --${flagOf(key)} <${option.form}>`,
      `${option.description}${fallback}${option.many ? ' (may be repeated)' : ''}  [${envOf(key)}]`,
    ] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length)) + 2;
  return `${name}: ${about}\n\nOptions:\n${rows.map(([l, r]) => l.padEnd(width) + r).join('\n')}\n`;
}

export function flagOf(key: string): string {
  return key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
}

export function envOf(key: string): string {
  return `FRESHET_${flagOf(key).replaceAll('-', '_').toUpperCase()}`;
}

function splitOnce(text: string, by: string): [string, string | undefined] {
  const at = text.indexOf(by);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

function problem(message: string, remedy: string): FreshetError {
  return new FreshetError('INVALID_CONFIG', message, { remedy });
}

// A pebibyte and ten years: more is a slip of the hand, and what is computed from either stays exact.
const BYTES_MAX = 2 ** 50;
const MILLISECONDS_MAX = 87_600 * 3_600_000;

function atMost(text: string, value: number, most: number, mostText: string): number {
  if (value > most) throw new Error(`"${text}" is more than ${mostText}`);
  return value;
}

/** Parsers of option values. */
export const parsers = {
  text: (text: string): string => text,
  address: (text: string): string => {
    const match = /^(?:[^\s:]+|\[[0-9a-fA-F:]+\]):(\d{1,5})$/.exec(text);
    if (match === null) throw new Error(`"${text}" is not host:port`);
    if (Number(match[1]) > 65_535) throw new Error(`"${text}" has a port above 65535`);
    return text;
  },
  integer:
    (least: number, most: number) =>
    (text: string): number => {
      const value = Number(text);
      if (!Number.isSafeInteger(value) || value < least || value > most)
        throw new Error(`"${text}" is not a whole number from ${least} to ${most}`);
      return value;
    },
  bytes: (text: string): number => {
    const match = /^(\d+)\s*(|KiB|MiB|GiB)$/.exec(text);
    if (match === null) throw new Error(`"${text}" is not a size such as 512MiB`);
    const unit = { '': 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }[match[2] as '' | 'KiB' | 'MiB' | 'GiB'];
    return atMost(text, Number(match[1]) * unit, BYTES_MAX, '1048576GiB');
  },
  milliseconds: (text: string): number => {
    const match = /^(\d+)(ms|s|m|h)$/.exec(text);
    if (match === null) throw new Error(`"${text}" is not a duration such as 500ms or 30s`);
    const unit = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] as 'ms' | 's' | 'm' | 'h'];
    return atMost(text, Number(match[1]) * unit, MILLISECONDS_MAX, '87600h');
  },
  oneOf:
    <T extends string>(...allowed: readonly T[]) =>
    (text: string): T => {
      if (!(allowed as readonly string[]).includes(text))
        throw new Error(`"${text}" is not one of ${allowed.join(', ')}`);
      return text as T;
    },
} as const;
