/**
 * Who may use the Schema Registry API: names with passwords, and tokens, from files.
 *
 *     users file    one "name:password" a line; the password may be written "sha256:" + 64 hex digits
 *     tokens file   one token a line, or "sha256:" + 64 hex digits
 *
 * Owns reading the files, once at start, and comparing in a time that tells nothing. Keeps digests only.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { FreshetError } from '@freshet/kit/errors.ts';

const ENTRIES_MAX = 10_000;

export interface CredentialFiles {
  readonly usersFile?: string | undefined;
  readonly tokensFile?: string | undefined;
}

/** Reads the files; undefined when there are none, and then everybody may. Throws INVALID_CONFIG, never telling a line. */
export async function readCredentials(
  files: CredentialFiles,
): Promise<((authorization: string | undefined) => boolean) | undefined> {
  if (files.usersFile === undefined && files.tokensFile === undefined) return undefined;
  const users = new Map<string, Buffer>();
  for (const [at, line] of await linesOf(files.usersFile, '--schemas-users-file')) {
    const colon = line.indexOf(':');
    if (colon < 1) throw wrong('--schemas-users-file', `line ${at} is not name:password`);
    const name = line.slice(0, colon);
    if (users.has(name)) throw wrong('--schemas-users-file', `line ${at} has a name that is there already`);
    users.set(name, digestOf(line.slice(colon + 1), '--schemas-users-file', at));
  }
  const tokens: Buffer[] = [];
  for (const [at, line] of await linesOf(files.tokensFile, '--schemas-tokens-file'))
    tokens.push(digestOf(line, '--schemas-tokens-file', at));
  return (authorization) => {
    const [scheme = '', given = ''] = (authorization ?? '').split(' ', 2);
    if (scheme.toLowerCase() === 'bearer') return isOneOf(tokens, sha256(given));
    if (scheme.toLowerCase() !== 'basic') return false;
    const text = Buffer.from(given, 'base64').toString();
    const colon = text.indexOf(':');
    const expected = users.get(text.slice(0, Math.max(colon, 0)));
    // Compared also for a name that there is not, so that the time does not tell which names there are.
    const isEqual = timingSafeEqual(expected ?? sha256(''), sha256(text.slice(colon + 1)));
    return expected !== undefined && isEqual;
  };
}

function isOneOf(digests: readonly Buffer[], given: Buffer): boolean {
  let isFound = false;
  for (const digest of digests) isFound = timingSafeEqual(digest, given) || isFound;
  return isFound;
}

async function linesOf(path: string | undefined, option: string): Promise<(readonly [number, string])[]> {
  if (path === undefined) return [];
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw wrong(option, `${path} cannot be read`, cause);
  });
  const lines = text.split(/\r?\n/).map((line, at) => [at + 1, line.trim()] as const);
  const entries = lines.filter(([, line]) => line !== '' && !line.startsWith('#'));
  if (entries.length === 0) throw wrong(option, `${path} has no entry`);
  if (entries.length > ENTRIES_MAX) throw wrong(option, `${path} has more than ${ENTRIES_MAX} entries`);
  return entries;
}

function wrong(option: string, message: string, cause?: unknown): FreshetError {
  const remedy = 'write one entry a line: name:password for users, a token for tokens';
  return new FreshetError('INVALID_CONFIG', `${option}: ${message}`, { remedy, cause });
}

/** Throws for an empty password, which everybody knows, and for a digest that is none: nobody has that as a password. */
function digestOf(secret: string, option: string, at: number): Buffer {
  if (secret.trim() === '') throw wrong(option, `line ${at} has no password`);
  const hex = /^sha256:([0-9a-fA-F]{64})$/.exec(secret)?.[1];
  if (hex === undefined && secret.startsWith('sha256:'))
    throw wrong(option, `line ${at} has a sha256 that is not of 64 hex digits`);
  return hex === undefined ? sha256(secret) : Buffer.from(hex, 'hex');
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
