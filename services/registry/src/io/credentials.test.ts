/**
 * Goal: whoever is in the files may, and nobody else; files that cannot be are refused without telling what is in them.
 * Method: real files, every way to write an entry, and headers that are wrong in every part.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type CredentialFiles, readCredentials } from './credentials.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-credentials-'));
});
afterAll(() => rm(directory, { recursive: true }));

let files = 0;
async function file(text: string): Promise<string> {
  const path = join(directory, `file-${files++}`);
  await writeFile(path, text);
  return path;
}

const digest = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;

it('lets everybody in when there are no files', async () => {
  expect(await readCredentials({})).toBeUndefined();
});

it('knows names with passwords, written out or as a digest', async () => {
  const usersFile = await file(
    `# who may\n\nada:secret\r\nbob:${digest('hidden')}\n  eve:a:b c\nbig:${digest('X').toUpperCase().replace('SHA256', 'sha256')}\n`,
  );
  const allows = (await readCredentials({ usersFile }))!;
  for (const right of ['ada:secret', 'bob:hidden', 'eve:a:b c', 'big:X'])
    expect(allows(basic(right)), right).toBe(true);
  expect(allows(basic('ada:secret').replace('Basic', 'bAsIc'))).toBe(true);
  const wrong = [
    'ada:hidden',
    'ada:',
    'ada',
    'ADA:secret',
    'bob:secret',
    ':secret',
    '',
    'carl:',
    'carl:secret',
    'ada:secret ',
  ];
  for (const each of wrong) expect(allows(basic(each)), each).toBe(false);
  // A digest is not itself the password.
  expect(allows(basic(`bob:${digest('hidden')}`))).toBe(false);
  for (const header of [
    undefined,
    '',
    'Basic',
    'Basic !',
    'Bearer secret',
    'Bearer',
    `Digest ${basic('ada:secret').slice(6)}`,
  ])
    expect(allows(header), header).toBe(false);
});

it('knows tokens, and no name that only has the form of one', async () => {
  const tokensFile = await file(`first\n#not\n${digest('second')}\n`);
  const allows = (await readCredentials({ tokensFile }))!;
  for (const right of ['Bearer first', 'bearer second']) expect(allows(right), right).toBe(true);
  for (const wrong of [
    'Bearer third',
    'Bearer #not',
    'Bearer ',
    'Bearer',
    `Bearer ${digest('second')}`,
    basic('first:'),
    basic(':'),
  ])
    expect(allows(wrong), wrong).toBe(false);
});

it('takes both files together', async () => {
  const allows = (await readCredentials({ usersFile: await file('ada:x'), tokensFile: await file('t') }))!;
  expect([allows(basic('ada:x')), allows('Bearer t'), allows('Bearer x'), allows(basic('t:'))]).toEqual([
    true,
    true,
    false,
    false,
  ]);
});

it('refuses files that are missing, empty, too long or not of that form, and tells no line', async () => {
  const cases: readonly (readonly [CredentialFiles, RegExp])[] = [
    [{ usersFile: join(directory, 'absent') }, /--schemas-users-file: .*cannot be read/],
    [{ tokensFile: await file('# only this\n\n') }, /--schemas-tokens-file: .*has no entry/],
    [{ usersFile: await file('ada:x\nhushhush\n') }, /line 2 is not name:password/],
    [{ usersFile: await file(':hushhush') }, /line 1 is not name:password/],
    [{ tokensFile: await file('hushhush\n'.repeat(10_001)) }, /more than 10000 entries/],
  ];
  for (const [given, message] of cases) {
    const error = await readCredentials(given).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ code: 'INVALID_CONFIG', message: expect.stringMatching(message) as unknown });
    expect(String((error as Error).message)).not.toContain('hushhush');
  }
});

it.each([
  ['ada:', /line 1 has no password/],
  ['ada:x\nada:y', /line 2 has a name that is there already/],
  ['ada:sha256:abc', /line 1 has a sha256 that is not of 64 hex digits/],
])('refuses %j, which would let somebody in by mistake', async (text, message) => {
  await expect(readCredentials({ usersFile: await file(text) })).rejects.toMatchObject({
    code: 'INVALID_CONFIG',
    message: expect.stringMatching(message) as string,
  });
});
