/** Goal: a registry goes out and in the same; what is there is not lost, and a damaged copy changes nothing. On LevelDB. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { levelStores } from '@freshet/store/level-store.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runFreshet } from '../testing/fake-mesh.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-copy-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function fill(name: string, value: string): Promise<string> {
  const store = await levelStores.open(join(directory, name, 'definitions'), { what: 'it', remedy: 'mend it' });
  const batch = store.batch();
  batch.put(Buffer.from('current'), Buffer.from(value));
  await batch.write({ sync: true });
  await store.close();
  return join(directory, name);
}

async function currentOf(dataDir: string): Promise<string | undefined> {
  const store = await levelStores.open(join(dataDir, 'definitions'), { what: 'it', remedy: 'mend it' });
  const value = await store.get(Buffer.from('current'));
  await store.close();
  return value?.toString();
}

it('exports, and imports into an empty registry only, unless told', async () => {
  const [first, second] = [await fill('a', 'one'), await fill('b', 'two')];
  const file = join(directory, 'copy.jsonl');
  const run = (...args: string[]) => runFreshet(['registry', ...args]);
  expect(await run('export', file, '--data-dir', first)).toMatchObject({
    code: 0,
    out: `${file}: 1 entries, verified\n`,
  });
  expect((await run('export', file, '--data-dir', second)).err).toContain('is there already');
  expect((await run('import', file, '--data-dir', second)).err).toContain('is not empty');
  expect(await currentOf(second)).toBe('two');
  expect((await run('import', file, '--data-dir', second, '--force')).err).toContain('what was there is at');
  expect(await currentOf(second)).toBe('one');
  const third = join(directory, 'c');
  writeFileSync(file, readFileSync(file, 'utf8').replace('"crc":', '"crc":1'));
  expect((await run('import', file, '--data-dir', third)).err).toContain('DATA_DAMAGED');
  expect(await currentOf(third)).toBeUndefined();
});

it('copies schemas by an option, and never takes one store for the other', async () => {
  const from = await fill('a', 'one');
  const store = await levelStores.open(join(from, 'schemas'), { what: 'it', remedy: 'mend it' });
  const batch = store.batch();
  batch.put(Buffer.from('r/{"keytype":"SCHEMA"}'), Buffer.from('{"id":1}'));
  batch.put(Buffer.from('ledger'), Buffer.alloc(20));
  await batch.write({ sync: true });
  await store.close();
  const [schemas, definitions] = [join(directory, 'schemas.jsonl'), join(directory, 'definitions.jsonl')];
  const run = (...args: string[]) => runFreshet(['registry', ...args]);
  expect(await run('export', schemas, '--data-dir', from, '--schemas')).toMatchObject({
    code: 0,
    out: `${schemas}: 2 entries, verified\n`,
    err: '',
  });
  expect((await run('export', definitions, '--data-dir', from)).err).toContain('--schemas');
  const to = join(directory, 'b');
  expect((await run('import', schemas, '--data-dir', to)).err).toContain('give --schemas');
  expect((await run('import', definitions, '--data-dir', to, '--schemas')).err).toContain('leave --schemas out');
  expect((await run('import', schemas, '--data-dir', to, '--schemas')).code).toBe(0);
  expect(await currentOf(to)).toBeUndefined();
  const copy = await levelStores.open(join(to, 'schemas'), { what: 'it', remedy: 'mend it' });
  expect((await copy.get(Buffer.from('r/{"keytype":"SCHEMA"}')))?.toString()).toBe('{"id":1}');
  await copy.close();
});
