/** Goal: who is in the files may, nobody else; files that would let somebody in by mistake are refused, telling no secret. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readCredentials } from './credentials.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-credentials-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function file(text: string): string {
  const path = join(directory, 'file');
  writeFileSync(path, text);
  return path;
}
const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;

it('lets in by name and password, as text or as digest, and nobody else', async () => {
  const digest = createHash('sha256').update('b').digest('hex');
  const allows = await readCredentials({ usersFile: file(`# people\nada:pass:word\nbob:sha256:${digest}\n`) });
  for (const text of ['ada:pass:word', 'bob:b']) expect(allows?.(basic(text))).toBe(true);
  for (const text of ['ada:', 'ada', ':', '', 'eve:b', `bob:sha256:${digest}`, `bob:${digest}`, 'ada:pass:word '])
    expect(allows?.(basic(text))).toBe(false);
  for (const header of [undefined, '', 'Basic', 'Bearer b', 'Bearer']) expect(allows?.(header)).toBe(false);
});

it('lets in by token', async () => {
  const allows = await readCredentials({ tokensFile: file('one\ntwo\n') });
  expect(allows?.('bearer two')).toBe(true);
  for (const header of ['Bearer', 'Bearer ', 'Bearer three', basic('one:two')]) expect(allows?.(header)).toBe(false);
});

it.each([
  ['ada:', /line 1 has no password/],
  ['ada', /line 1 is not name:password/],
  ['ada:x\nada:y', /line 2 has a name that is there already/],
  ['ada:sha256:abc', /line 1 has a sha256 that is not of 64 hex digits/],
  ['# nobody', /no entry/],
])('refuses %j', async (text, message) => {
  await expect(readCredentials({ usersFile: file(text) })).rejects.toMatchObject({
    code: 'INVALID_CONFIG',
    message: expect.stringMatching(message) as string,
  });
});
