/**
 * Goal: the quarantine keeps each entry once, durably and in order, through repetitions and torn writes.
 * Method: entries written, the file cut or damaged, and opened again.
 */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { QuarantineEntry } from '../core/quarantine.ts';
import { QuarantineFile } from './quarantine-file.ts';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-quarantine-'));
  path = join(directory, 'quarantine.jsonl');
});
afterEach(() => rmSync(directory, { recursive: true }));

function entry(lane: number, major: bigint): QuarantineEntry {
  return {
    route: 1,
    generation: 1,
    lane,
    major,
    minor: 0,
    part: 0,
    source: 's',
    table: 'shop/public.t',
    operation: 1,
    reason: 'bad_value',
    detail: 'über\nline',
    contractVersion: 1,
    atUs: 1,
    committedUs: null,
    values: { a: 'ü\n\t😀', b: null },
  };
}

function majors(): string[] {
  const text = readFileSync(path, 'utf8');
  return text === ''
    ? []
    : text
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line.slice(9)) as { major: string }).major);
}

describe('QuarantineFile', () => {
  it('keeps entries in order and passes over what it has, also after a restart', async () => {
    const first = await QuarantineFile.open(path);
    await Promise.all([
      first.append([entry(1, 1n), entry(1, 2n ** 60n)]),
      first.append([entry(2, 1n)]),
      first.append([entry(1, 2n)]),
    ]);
    await first.close();
    const second = await QuarantineFile.open(path);
    expect(second.count).toBe(3);
    await second.append([entry(1, 1n), entry(1, 2n ** 60n), entry(1, 2n ** 60n + 1n)]);
    await second.append([entry(2, 1n)]);
    await second.close();
    expect(majors()).toEqual(['1', (2n ** 60n).toString(), '1', (2n ** 60n + 1n).toString()]);
  });

  it('takes nothing after a failed write, also not what that write had: it is not durable', async () => {
    const file = await QuarantineFile.open(path);
    await file.append([entry(1, 1n)]);
    await file.close(); // every write fails from here on
    await expect(file.append([entry(1, 2n)])).rejects.toThrow();
    await expect(file.append([entry(1, 2n)])).rejects.toThrow();
    await expect(file.append([])).rejects.toThrow();
    expect(file.count).toBe(1);
    const again = await QuarantineFile.open(path);
    await again.append([entry(1, 2n)]);
    await again.close();
    expect(majors()).toEqual(['1', '2']);
  });

  it('tells the places of entries, of this run and of those before', async () => {
    const first = await QuarantineFile.open(path);
    await first.append([entry(1, 1n), entry(2, 1n)]);
    await first.close();
    const second = await QuarantineFile.open(path);
    const pending = second.append([entry(1, 2n ** 60n)]);
    expect(await second.places(({ lane, values }) => lane === 1 && values['a'] === entry(1, 1n).values['a'])).toEqual(
      new Set(['1/1/1/1/0/0', `1/1/1/${2n ** 60n}/0/0`]),
    );
    await pending;
    await second.close();
  });

  it('cuts a torn last line at every length of it', async () => {
    const file = await QuarantineFile.open(path);
    await file.append([entry(1, 1n)]);
    const whole = readFileSync(path).length;
    await file.append([entry(1, 2n)]);
    await file.close();
    const bytes = readFileSync(path);
    for (let length = whole; length < bytes.length; length++) {
      writeFileSync(path, bytes.subarray(0, length));
      const again = await QuarantineFile.open(path);
      expect(again.count).toBe(1);
      await again.append([entry(1, 2n)]);
      await again.close();
      expect(readFileSync(path)).toEqual(bytes);
    }
    truncateSync(path, 0);
    const empty = await QuarantineFile.open(path);
    expect(empty.count).toBe(0);
    await empty.close();
  });

  it('refuses damage before the last line', async () => {
    const file = await QuarantineFile.open(path);
    await file.append([entry(1, 1n), entry(1, 2n)]);
    await file.close();
    const bytes = readFileSync(path);
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    await expect(QuarantineFile.open(path)).rejects.toMatchObject({ code: 'DATA_DAMAGED', place: `${path}:1` });
    appendFileSync(path, 'x');
    await expect(QuarantineFile.open(path)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
  });
});
