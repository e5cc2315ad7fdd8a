/**
 * Log lines: one JSON object a line on stderr, or readable text when stderr is a terminal. "error" means that somebody
 * must act; what heals itself is "warn".
 */

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds fields to every line. */
  child(fields: LogFields): Logger;
}

export interface LoggerOptions {
  /** Who speaks: the service. */
  readonly name: string;
  /** The least level that is written. */
  readonly level?: LogLevel | undefined;
  /** Takes a finished line, without its newline. */
  readonly write?: ((line: string) => void) | undefined;
  /** Readable text instead of JSON. */
  readonly pretty?: boolean | undefined;
}

const RANK: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };

export function createLogger(options: LoggerOptions): Logger {
  const write = options.write ?? ((line: string) => process.stderr.write(`${line}\n`));
  const pretty = options.pretty ?? (options.write === undefined && process.stderr.isTTY === true);
  return make(options.name, RANK[options.level ?? 'info'], write, pretty, {});
}

/** A logger that writes nothing, for tests. */
export const silentLogger: Logger = make('', 4, () => {}, false, {});

function make(name: string, least: number, write: (line: string) => void, pretty: boolean, base: LogFields): Logger {
  const at = (level: LogLevel) => (message: string, fields?: LogFields) => {
    if (RANK[level] < least) return;
    const all = { ...base, ...fields };
    write(pretty ? textLine(name, level, message, all) : jsonLine(name, level, message, all));
  };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => make(name, least, write, pretty, { ...base, ...fields }),
  };
}

function jsonLine(service: string, level: LogLevel, message: string, fields: LogFields): string {
  return JSON.stringify({ time: new Date().toISOString(), level, service, message, ...fields }, plain);
}

function textLine(service: string, level: LogLevel, message: string, fields: LogFields): string {
  const rest = Object.entries(fields).map(([key, value]) => ` ${key}=${JSON.stringify(value, plain)}`);
  return `${new Date().toISOString().slice(11, 23)} ${level.padEnd(5)} ${service} ${message}${rest.join('')}`;
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (value instanceof Error) {
    const { name, message, stack, cause } = value;
    const extra = Object.fromEntries(Object.entries(value).filter(([, v]) => typeof v !== 'function'));
    return { name, message, ...extra, ...(name === 'FreshetError' ? {} : { stack }), ...(cause ? { cause } : {}) };
  }
  return value;
}
