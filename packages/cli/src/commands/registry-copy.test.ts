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
