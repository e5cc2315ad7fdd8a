/**
 * What the server answers when it refuses, and what that means to us. The SQLSTATE decides; texts are for people.
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
import type { ErrorCode } from '@freshet/kit/error-codes.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** An error that the server reported. */
export class PgError extends Error {
  override readonly name = 'PgError';
  /** The SQLSTATE: "42P01". */
  readonly code: string;
  readonly detail: string;
  readonly hint: string;

  constructor(fields: ReadonlyMap<string, string>) {
    super(fields.get('M') ?? 'the server refused without saying why');
    this.code = fields.get('C') ?? '';
    this.detail = fields.get('D') ?? '';
    this.hint = fields.get('H') ?? '';
  }
}

/** Whether the server refused with one of the SQLSTATEs; two characters stand for a whole class. */
export function isPgError(error: unknown, ...codes: readonly string[]): error is PgError {
  return (
    error instanceof PgError &&
    codes.some((code) => (code.length === 2 ? error.code.startsWith(code) : error.code === code))
  );
}

/** Any failure of the database as an operating error. */
export function fromPgError(error: unknown, place: string): unknown {
  if (!(error instanceof PgError)) return error;
  const code = codeOf(error);
  const more = [error.detail, error.hint].filter((text) => text !== '').join(' ');
  return new FreshetError(code, `Postgres: ${error.message}${more === '' ? '' : ` (${more})`} [${error.code}]`, {
    remedy: remedyOf(error),
    place,
    cause: error,
  });
}

function codeOf(error: PgError): ErrorCode {
  if (isPgError(error, '28', '3D', '42501', '0A')) return 'SOURCE_NOT_READY';
  // Resources, connections, operator's intervention, locks, serialization: a later try may find it otherwise.
  if (isPgError(error, '08', '53', '55', '57', '58', '40', 'XX')) return 'SOURCE_UNREACHABLE';
  return 'SOURCE_NOT_READY';
}

function remedyOf(error: PgError): string | undefined {
  if (isPgError(error, '28P01')) return 'Correct the password in the database URL.';
  if (isPgError(error, '28'))
    return 'Let pg_hba.conf admit this user from this host, for the database and for "replication".';
  if (isPgError(error, '3D000')) return 'Correct the database name in the URL.';
  if (isPgError(error, '53400'))
    return 'Raise the limit that it names; for replication slots: ALTER SYSTEM SET max_replication_slots = …; -- then restart Postgres. Or drop one that nobody reads: SELECT slot_name, active FROM pg_replication_slots;';
  if (isPgError(error, '53300'))
    return 'Raise max_connections or max_wal_senders, or end connections that nobody needs.';
  if (isPgError(error, '55006'))
    return 'Another process reads the replication slot: stop it, or choose another --slot-name.';
  return undefined;
}
