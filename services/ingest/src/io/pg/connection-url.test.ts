/** Goal: a database URL means what libpq takes it for, or is refused. Method: URLs by example. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { parseConnectionUrl } from './connection-url.ts';

const directory = mkdtempSync(join(tmpdir(), 'freshet-url-'));
const authority = join(directory, 'ca.pem');
writeFileSync(authority, 'pem');
afterAll(() => rmSync(directory, { recursive: true }));

it.each([
  ['sslmode=require', 'require'],
  [`sslmode=require&sslrootcert=${authority}`, 'verify-ca'],
  [`sslmode=verify-full&sslrootcert=${authority}`, 'verify-full'],
  ['sslrootcert=system', 'verify-full'],
  ['', 'prefer'],
])('verifies the authority where one is given: %s is %s', (parameters, mode) => {
  expect(parseConnectionUrl(`postgres://u:p@h/db?${parameters}`).sslMode).toBe(mode);
});

it.each([
  ['h/db?sslmod=require', 'parameter sslmod'],
  ['h/db?channel_binding=require', 'parameter channel_binding'],
  ['h/db?sslmode=require&sslrootcert=system', 'verify-full'],
  ['h/db?port=abc', 'port'],
  ['h/db?port=0', 'port'],
  ['h/db?port=65536', 'port'],
  ['h:0/db', 'port'],
])('refuses what it would have to pass over or cannot use: %s', (rest, said) => {
  expect(() => parseConnectionUrl(`postgres://u:topsecret@${rest}`)).toThrow(
    expect.objectContaining({
      code: 'INVALID_CONFIG',
      message: expect.stringMatching(new RegExp(`^(?!.*topsecret).*${said}`)) as string,
    }),
  );
});

it('reads a port from the address or from the parameter', () => {
  expect(parseConnectionUrl('postgres://u@h:7000/db').port).toBe(7000);
  expect(parseConnectionUrl('postgres://u@h/db?port=7001').port).toBe(7001);
  expect(parseConnectionUrl('postgres://u@h/db').port).toBe(5432);
});
