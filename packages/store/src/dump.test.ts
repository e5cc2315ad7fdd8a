/** Goal: a copy gives back the same store, and one that is not whole is refused. Method: a copy with every byte wrong in turn. */
import { describe, expect, it } from 'vitest';
import { dumpStore, isEmpty, restoreDump, verifyDump } from './dump.ts';
import type { KeyValueStore } from './key-value-store.ts';
import { MemoryDisk } from './memory-store.ts';

const OPTIONS = { what: 'the store', remedy: 'mend it' };

async function filled(): Promise<KeyValueStore> {
  const store = await new MemoryDisk().open('/a', OPTIONS);
  const batch = store.batch();
  for (let i = 0; i < 40; i++) batch.put(Buffer.from(`key/${i}`), Buffer.from([i, 0, 255, 10, 34]));
  batch.put(Buffer.from([0xff, 0xfe]), Buffer.alloc(0));
  await batch.write({ sync: true });
  return store;
}

async function textOf(store: KeyValueStore): Promise<string> {
  let text = '';
  for await (const line of dumpStore(store)) text += line;
  return text;
}

async function* linesOf(text: string): AsyncGenerator<string> {
  yield* text.replace(/\n$/, '').split('\n');
}

describe('a copy of a store', () => {
  it('gives back the same store', async () => {
    const text = await textOf(await filled());
    const other = await new MemoryDisk().open('/b', OPTIONS);
    expect(await isEmpty(other)).toBe(true);
    expect(await verifyDump(linesOf(text), 'f')).toBe(41);
    expect(await restoreDump(other, linesOf(text), 'f')).toBe(41);
    expect(await isEmpty(other)).toBe(false);
    expect(await textOf(other)).toBe(text);
  });

  it('is refused when it was cut off or any byte of it is another', async () => {
    const text = await textOf(await filled());
    const lines = text.split('\n');
    for (let end = 0; end < lines.length - 1; end++) {
      await expect(verifyDump(linesOf(lines.slice(0, end).join('\n')), 'f')).rejects.toMatchObject({
        code: 'DATA_DAMAGED',
      });
    }
    for (let at = 0; at < text.length - 1; at++) {
      const wrong = `${text.slice(0, at)}${text[at] === 'x' ? 'y' : 'x'}${text.slice(at + 1)}`;
      await expect(verifyDump(linesOf(wrong), 'f'), `byte ${at}`).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    }
    await expect(verifyDump(linesOf(`${text}{}`), 'f')).rejects.toMatchObject({ place: 'f:44' });
  });
});
