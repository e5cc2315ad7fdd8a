/**
 * Operating errors: what input or the world can break. One class; the code says what a caller decides by.
 * Owns the shape of an error in the process. How it crosses the wire is grpc/error-mapping.ts.
 */
import { ERROR_CODES, type ErrorCode } from './error-codes.ts';

export interface ErrorOptions {
  /** What to do about it, in a sentence, or SQL or YAML to apply. */
  readonly remedy?: string | undefined;
  /** A file with line and column, a field path, a table and column. */
  readonly place?: string | undefined;
  /** Logged, never sent to a caller. */
  readonly cause?: unknown;
  /** Further errors of the same call. */
  readonly also?: readonly FreshetError[] | undefined;
}

/** An operating error. The message says what is wrong; remedy and place say what to do and where. */
export class FreshetError extends Error {
  override readonly name = 'FreshetError';
  readonly code: ErrorCode;
  readonly remedy: string;
  readonly place: string;
  readonly also: readonly FreshetError[];

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy ?? '';
    this.place = options.place ?? '';
    this.also = options.also ?? [];
  }

  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }
}

/** Whether it is an operating error with one of the codes. */
export function isFreshetError(error: unknown, ...codes: readonly ErrorCode[]): error is FreshetError {
  return error instanceof FreshetError && (codes.length === 0 || codes.includes(error.code));
}

/** Whether it only says that a signal was aborted; that is not a failure. */
export function isAbort(error: unknown): boolean {
  return (
    (error instanceof Error && (error.name === 'AbortError' || error.name === 'ABORT_ERR')) ||
    isFreshetError(error, 'CANCELLED')
  );
}
