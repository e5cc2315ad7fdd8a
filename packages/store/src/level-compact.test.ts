/**
 * Goal: after compact() no file of a store holds a byte of what was deleted or replaced. Method: real stores with random
 * histories of two keys and their values, closed and opened in between so that versions lie in all levels; then every file
 * is searched. Values are random letters, which LevelDB's compression leaves as they are.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { afterAll, expect, it } from 'vitest';
import { levelStores } from './level-store.ts';

const home = mkdtempSync(join(tmpdir(), 'freshet-compact-'));
afterAll(() => rmSync(home, { recursive: true }));
const OPTIONS = { what: 'a store', remedy: 'none', writeBufferBytes: 64 * 1024 };

function filesWith(directory: string, text: string): string[] {
  const files = readdirSync(directory, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
  return files.map((entry) => join(entry.parentPath, entry.name)).filter((path) => readFileSync(path).includes(text));
}

function letters(random: Random, length: number): string {
  return Array.from({ length }, () => String.fromCharCode(65 + Math.floor(random.real() * 26))).join('');
}

it('leaves nothing of deleted keys and replaced values in any file, and everything else as it was', async () => {
  let seen = 0;
  for (let program = 0; program < 12; program++) {
    const random = new Random(`compact ${program}`);
    const directory = join(home, String(program));
    const gone = Buffer.from(`s-${letters(random, 12)}-gone`);
    const kept = Buffer.from(`s-${letters(random, 12)}-kept`);
    const values: string[] = [];
    const others = new Map<string, string>();
    let last = '';
    for (let life = 0; life < 4; life++) {
      const store = await levelStores.open(directory, OPTIONS);
      for (let round = 0; round < 6; round++) {
        const batch = store.batch();
        for (let i = 0; i < 80; i++) {
          const key = `s-${letters(random, 4)}`;
          others.set(key, letters(random, 60));
          batch.put(Buffer.from(key), Buffer.from(others.get(key)!));
        }
        values.push(letters(random, 30), letters(random, 30));
        if (random.real() < 0.5) batch.put(gone, Buffer.from(values.at(-2)!));
        if (random.real() < 0.5 || last === '') {
          last = values.at(-1)!;
          batch.put(kept, Buffer.from(last));
        }
        if (random.real() < 0.2) batch.delete(gone);
        await batch.write({ sync: false });
      }
      if (life === 3) {
        const batch = store.batch();
        batch.delete(gone);
        await batch.write({ sync: false });
      }
      await store.close();
    }
    seen += filesWith(directory, gone.toString()).length;
    await levelStores.compact(directory, OPTIONS, [gone, kept]);
    expect(filesWith(directory, gone.toString())).toEqual([]);
    for (const value of values) if (value !== last) expect(filesWith(directory, value)).toEqual([]);
    const store = await levelStores.open(directory, OPTIONS);
    expect((await store.get(kept))?.toString()).toBe(last);
    expect(await store.get(gone)).toBeUndefined();
    for (const [key, value] of others) expect((await store.get(Buffer.from(key)))?.toString()).toBe(value);
    await store.close();
  }
  // Else the test would prove nothing.
  expect(seen).toBeGreaterThan(6);
}, 30_000);
