/**
 * Errors for people and for programs: what is wrong, where, and what to do about it; all that were found. And the exit
 * code: 0 done, 1 failed, 2 used wrongly, 3 a contract would break and nobody accepted that, 78 bad configuration.
 */

import { type FreshetError, isAbort } from '@freshet/kit/errors.ts';
import { toFreshetError } from '@freshet/kit/grpc/error-mapping.ts';
import { paint, type Terminal } from './terminal.ts';

export const EXIT = { ok: 0, failed: 1, usage: 2, contract: 3, config: 78, interrupted: 130 } as const;

const ALSO_SHOWN_MAX = 50;

/** Writes the error and returns the exit code for it. */
export function reportError(terminal: Terminal, thrown: unknown, json: boolean): number {
  if (terminal.signal.aborted && isAbort(thrown)) return EXIT.interrupted;
  const error = toFreshetError(thrown);
  if (json) terminal.err(`${JSON.stringify({ error: asJson(error) })}\n`);
  else terminal.err(errorText(terminal, error));
  // A fault of ours: the stack is what a report needs.
  if (error.code === 'INTERNAL' && error.cause instanceof Error && !json) terminal.err(`${error.cause.stack ?? ''}\n`);
  if (error.code === 'CONTRACT_NOT_ACCEPTED') return EXIT.contract;
  return error.code === 'INVALID_CONFIG' ? EXIT.config : EXIT.failed;
}

export function errorText(terminal: Pick<Terminal, 'colours'>, error: FreshetError): string {
  const all = flatten(error);
  const shown = all
    .slice(0, ALSO_SHOWN_MAX)
    .map((e) => oneError(terminal, e))
    .join('');
  const hidden = all.length - ALSO_SHOWN_MAX;
  return hidden > 0 ? `${shown}… and ${hidden} more\n` : shown;
}

function oneError(terminal: Pick<Terminal, 'colours'>, error: FreshetError): string {
  const lines = [`${paint(terminal, 'red', 'error')} ${error.message} ${paint(terminal, 'dim', `[${error.code}]`)}`];
  if (error.place !== '') lines.push(`  ${paint(terminal, 'dim', 'at')}  ${error.place}`);
  if (error.remedy !== '')
    lines.push(`  ${paint(terminal, 'green', 'fix')} ${error.remedy.replaceAll('\n', '\n      ')}`);
  return `${lines.join('\n')}\n`;
}

function flatten(error: FreshetError): FreshetError[] {
  return [error, ...error.also.flatMap(flatten)];
}

function asJson(error: FreshetError): Record<string, unknown> {
  const { code, message, place, remedy, also, retryable } = error;
  return {
    code,
    message,
    ...(place && { place }),
    ...(remedy && { remedy }),
    retryable,
    ...(also.length > 0 && { also: also.map(asJson) }),
  };
}
