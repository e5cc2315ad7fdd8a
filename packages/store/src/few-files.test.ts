/**
 * Goal: a process that has no file descriptor left says so, and never that data is damaged, nor that a key is not there; and all
 * is there once it has descriptors again. Method: a real process under a low limit (ulimit -n) on a LevelDB of many tables,
 * of which it has opened some; it takes all descriptors that are left and reads, lists, scans, scrubs and writes. Then limits at
 * which the store can just not be opened. Afterwards the store is opened here and read whole.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { contentOf, FEW_FILES_OPTIONS, type FewFilesReport, keyOf } from './few-files.testing.ts';
import { levelStores } from './level-store.ts';

const KEYS = 4_000;
const root = mkdtempSync(join(tmpdir(), 'freshet-few-files-'));
const whole = join(root, 'whole');

beforeAll(async () => {
  const store = await levelStores.open(whole, FEW_FILES_OPTIONS);
  for (let from = 0; from < KEYS; from += 100) {
    const batch = store.batch();
    for (let key = from; key < from + 100; key++) batch.put(keyOf(key), contentOf(key));
    await batch.write({ sync: false });
  }
  await store.close();
  expect(readdirSync(whole).filter((name) => name.endsWith('.ldb')).length).toBeGreaterThan(8);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Runs the program on a copy of the store with so many descriptors; undefined when the process did not come as far. */
function run(limit: number, first: string): { at: string; report: FewFilesReport | undefined } {
  const at = mkdtempSync(join(root, 'run-'));
  cpSync(whole, at, { recursive: true });
  const program = join(import.meta.dirname, 'few-files.program.ts');
  const command = `ulimit -n ${limit} && exec "$0" "$@"`;
  const args = ['-c', command, process.execPath, program, at, String(KEYS), first];
  const { stdout } = spawnSync('sh', args, { encoding: 'utf8' });
  return { at, report: stdout === '' ? undefined : (JSON.parse(stdout) as FewFilesReport) };
}

/** Reads all that was there before, with descriptors enough; returns how many batches' keys there are besides. */
async function expectWhole(at: string): Promise<number> {
  const store = await levelStores.open(at, FEW_FILES_OPTIONS);
  try {
    const there = (key: number): boolean => store.getSync(keyOf(key))?.equals(contentOf(key)) === true;
    for (let key = 0; key < KEYS; key++) expect(there(key), `key ${key}`).toBe(true);
    expect(store.damage).toBeUndefined();
    let more = 0;
    while (there(KEYS + more)) more++;
    return more / 40;
  } finally {
    await store.close();
  }
}

it.each(['', '0', '0,3999', '1000,2000'])(
  'F1: a process without descriptors says so (keys read before: %s)',
  async (first) => {
    const { at, report } = run(64, first);
    expect(report?.damage).toBeUndefined();
    const { opening, gets, pages, lists, scrubs, writes } = report as FewFilesReport;
    expect(opening).toEqual({ done: 1 });
    for (const [what, counts] of Object.entries({ gets, pages, lists, scrubs, writes })) {
      expect(counts['TOO_MANY_OPEN_FILES'], what).toBeGreaterThan(0);
      expect(
        Object.keys(counts).filter((outcome) => !/^(right|done|TOO_MANY_OPEN_FILES)$/.test(outcome)),
        what,
      ).toEqual([]);
    }
    // What was acknowledged is there; what was not may be.
    expect(await expectWhole(at)).toBeGreaterThanOrEqual(writes['done'] ?? 0);
  },
);

it('F1: a process that has too few descriptors to open its store says so, and leaves it whole', async () => {
  const opened = new Set<string>();
  for (let limit = 18; limit <= 42; limit += 3) {
    const { at, report } = run(limit, '');
    // Below some number there is no process at all.
    if (report !== undefined) {
      const [outcome = ''] = Object.keys(report.opening);
      opened.add(outcome);
      expect(['done', 'TOO_MANY_OPEN_FILES']).toContain(outcome);
    }
    await expectWhole(at);
  }
  expect([...opened].sort()).toEqual(['TOO_MANY_OPEN_FILES', 'done']);
}, 120_000);
