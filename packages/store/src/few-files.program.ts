/**
 * A process for few-files.test.ts, which starts it with few file descriptors: opens the store that it is told, reads the
 * keys that it is told, then opens files until there can be no more, and works on. Tells its parent what came of each thing
 * it did, in a line of JSON. Arguments: directory, how many keys there are, keys to read first (comma-separated).
 */
import { openSync } from 'node:fs';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { contentOf, FEW_FILES_OPTIONS, type FewFilesReport, KEY_RANGE, keyOf } from './few-files.testing.ts';
import type { KeyValueStore } from './key-value-store.ts';
import { levelStores } from './level-store.ts';

const PAGE = 40;

/** Counts what was done, by what came of it. */
class Outcomes {
  readonly counts: Record<string, number> = {};

  async of(work: () => unknown): Promise<void> {
    let outcome: string;
    try {
      const found = await work();
      outcome = typeof found === 'string' ? found : 'done';
    } catch (error) {
      outcome = isFreshetError(error) ? error.code : `not an error of ours: ${String(error)}`;
    }
    this.counts[outcome] = (this.counts[outcome] ?? 0) + 1;
  }
}

function holdAll(): void {
  for (;;) {
    try {
      openSync('/dev/null', 'r');
    } catch {
      return;
    }
  }
}

/** A page of the scan from a key on, as a pass has it: done when the keys in it are those that follow. */
async function page(store: KeyValueStore, from: number): Promise<string> {
  const scan = store.entries({ gte: keyOf(from), lt: KEY_RANGE.lt });
  try {
    const found = await scan.next(PAGE);
    await scan.confirm();
    return found.every(([key], i) => key.equals(keyOf(from + i))) ? 'right' : 'keys are missing';
  } finally {
    await scan.close();
  }
}

const [directory = '', keys = '0', first = ''] = process.argv.slice(2);
const count = Number(keys);
const [opening, gets, pages, lists, scrubs, writes] = Array.from({ length: 6 }, () => new Outcomes()) as [
  Outcomes,
  Outcomes,
  Outcomes,
  Outcomes,
  Outcomes,
  Outcomes,
];
let damage: string | undefined;
await opening.of(async () => {
  const store = await levelStores.open(directory, FEW_FILES_OPTIONS);
  for (const key of first.split(',')) store.getSync(keyOf(Number(key)));
  holdAll();
  for (let from = 0; from < count; from += PAGE) {
    await pages.of(() => page(store, from));
    await lists.of(async () => {
      const found = await store.keys({ gte: keyOf(from), lt: KEY_RANGE.lt }, PAGE);
      return found.every((key, i) => key.equals(keyOf(from + i))) ? 'right' : 'keys are missing';
    });
  }
  for (let key = 0; key < count; key++) {
    await gets.of(() => (store.getSync(keyOf(key))?.equals(contentOf(key)) === true ? 'right' : 'wrong or missing'));
  }
  await scrubs.of(() => store.scrub(() => Promise.resolve()));
  for (let from = 0; from < count; from += PAGE) {
    const batch = store.batch();
    for (let key = from; key < from + PAGE; key++) batch.put(keyOf(count + key), contentOf(count + key));
    await writes.of(() => batch.write({ sync: true }));
  }
  damage = store.damage?.message;
});
const report: FewFilesReport = {
  opening: opening.counts,
  gets: gets.counts,
  pages: pages.counts,
  lists: lists.counts,
  scrubs: scrubs.counts,
  writes: writes.counts,
  damage,
};
process.stdout.write(`${JSON.stringify(report)}\n`);
// Not closed: a process that ran out of descriptors need not get to it.
process.exit();
