/** Goal: the schema reaches the editor whole, on stdout or in a file. Method: the command in this process, real files. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { editorSchema } from '@freshet/definitions/editor-schema.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runFreshet } from '../testing/fake-mesh.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-cli-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

it('prints the schema, and nothing else, on stdout', async () => {
  const { code, out, err } = await runFreshet(['schema']);
  expect([code, err]).toEqual([0, '']);
  expect(JSON.parse(out)).toEqual(JSON.parse(JSON.stringify(editorSchema())));
  expect(JSON.parse(out)).toMatchObject({ $schema: 'https://json-schema.org/draft/2020-12/schema' });
});

it('writes the same to a file, over what is there', async () => {
  const file = join(directory, 'freshet.schema.json');
  writeFileSync(file, 'x'.repeat(1_000_000));
  const { code, out, err } = await runFreshet(['schema', '--out', file]);
  expect([code, out]).toEqual([0, '']);
  expect(err).toContain(file);
  expect(readFileSync(file, 'utf8')).toBe((await runFreshet(['schema'])).out);
});

it('says what to do when the file cannot be written', async () => {
  const { code, out, err } = await runFreshet(['schema', '--out', join(directory, 'none', 'a.json')]);
  expect([code, out]).toEqual([1, '']);
  expect(err).toContain('ENOENT');
  expect(err).toContain('name a file in a directory that is there');
  expect((await runFreshet(['schema', 'more'])).code).toBe(2);
});
