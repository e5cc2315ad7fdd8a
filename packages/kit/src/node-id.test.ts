/**
 * Goal: a node keeps its id, and nodes that met with a power cut do not come to have the same. Method: real files, as one leaves them.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadNodeId } from './node-id.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-node-id-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

it('is made once, and kept', async () => {
  const id = await loadNodeId(join(directory, 'data'), 'compute');
  expect(id).toMatch(/^compute-[0-9a-f]{8}$/);
  expect(await loadNodeId(join(directory, 'data'), 'compute')).toBe(id);
  expect(await readFile(join(directory, 'data', 'node-id'), 'utf8')).toBe(`${id}\n`);
});

it('is made anew where a power cut left a file of that length without its content, or an empty one', async () => {
  for (const content of [
    new Uint8Array(17),
    new Uint8Array(0),
    Buffer.concat([Buffer.from('compu'), Buffer.alloc(12)]),
  ]) {
    await writeFile(join(directory, 'node-id'), content);
    expect(await loadNodeId(directory, 'compute')).toMatch(/^compute-[0-9a-f]{8}$/);
  }
});
