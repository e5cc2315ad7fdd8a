/**
 * The work of crc.ts, once, in a process of its own, with checksums or (behind without-crc.ts) without: prints a line of
 * JSON with processor times.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '@freshet/store/crc32c.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { foldFromLog } from './fold.ts';
import { foldWorkload } from './fold-workload.ts';

const EVENTS = 300_000;
const STATES = 100_000;
const STATE_BYTES = 120;
const READS = 1_000_000;
const BATCH = 1_000;

/** Whether this is the process without: told by its result, so that a hook that does nothing is noticed. */
function hasChecksums(): boolean {
  const check = Buffer.from('123456789');
  return crc32c(check, 0, check.length) === 0xe3069283;
}

/** Reads of states by random keys, as a fold's of cold state: nanoseconds each, of the thread that reads. */
async function readNs(): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-bench-'));
  const store = await levelStores.open(directory, { what: 'the benchmark', remedy: 'none', blockCacheBytes: 2 ** 26 });
  const keyOf = (i: number): Buffer => Buffer.from(`key-${String(i).padStart(12, '0')}`);
  for (let at = 0; at < STATES; at += BATCH) {
    const batch = store.batch();
    for (let i = at; i < at + BATCH; i++) batch.put(keyOf(i), Buffer.alloc(STATE_BYTES, i));
    await batch.write({ sync: false });
  }
  const keys = Array.from({ length: STATES }, (_, i) => keyOf((i * 48_271) % STATES));
  const before = process.threadCpuUsage();
  let bytes = 0;
  for (let i = 0; i < READS; i++) bytes += store.getSync(keys[i % STATES] as Buffer)?.length ?? 0;
  const { user, system } = process.threadCpuUsage(before);
  if (bytes !== READS * STATE_BYTES) throw new Error(`read ${bytes} bytes`);
  await store.close();
  rmSync(directory, { recursive: true, force: true });
  return ((user + system) * 1000) / READS;
}

const fold = await foldFromLog(foldWorkload(EVENTS, 'zipf'));
const result = {
  checksums: hasChecksums(),
  foldNs: (fold.cpuUs * 1000) / EVENTS,
  foldThreadNs: (fold.threadUs * 1000) / EVENTS,
  readNs: await readNs(),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit(0);
