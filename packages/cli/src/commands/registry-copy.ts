/**
 * freshet registry export and import: the registry's definitions store as lines with checksums. The registry must not run:
 * its store is locked while it does.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { FreshetError } from '@freshet/kit/errors.ts';
import { dumpStore, isEmpty, restoreDump, verifyDump } from '@freshet/store/dump.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import type { Terminal } from '../output/terminal.ts';

const OPTIONS = { what: "the registry's store", remedy: 'restore the directory from a copy' };

export interface RegistryCopyOptions {
  readonly dataDir: string;
  /** Import although something is there: that is set aside first. */
  readonly force?: boolean;
}

export async function exportCommand(terminal: Terminal, file: string, options: RegistryCopyOptions): Promise<void> {
  const store = await levelStores.open(join(options.dataDir, 'definitions'), OPTIONS);
  try {
    // Never over a file that is there: it may be the only copy.
    await pipeline(
      Readable.from(dumpStore(store)),
      createWriteStream(file, { flags: 'wx', mode: 0o600, flush: true }),
      {
        signal: terminal.signal,
      },
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new FreshetError('INVALID_REQUEST', `${file} is there already`, { remedy: 'name a new file', place: file });
  } finally {
    await store.close();
  }
  const count = await verifyDump(linesOf(file), file);
  terminal.out(`${file}: ${count} entries, verified\n`);
}

export async function importCommand(terminal: Terminal, file: string, options: RegistryCopyOptions): Promise<void> {
  // Read whole before anything is written: what is there stays when the copy is not right.
  await verifyDump(linesOf(file), file);
  const directory = join(options.dataDir, 'definitions');
  let store = await levelStores.open(directory, OPTIONS);
  try {
    if (!(await isEmpty(store))) {
      if (options.force !== true) {
        throw new FreshetError('INVALID_REQUEST', `the registry in ${options.dataDir} is not empty`, {
          remedy: 'name an empty data directory, or give --force, which puts what is there aside',
          place: directory,
        });
      }
      await store.close();
      terminal.err(`what was there is at ${await levelStores.setAside(directory)}\n`);
      store = await levelStores.open(directory, OPTIONS);
    }
    const count = await restoreDump(store, linesOf(file), file);
    terminal.out(`${directory}: ${count} entries\n`);
  } finally {
    await store.close();
  }
}

function linesOf(file: string): AsyncIterable<string> {
  return createInterface({ input: createReadStream(file, 'utf8'), crlfDelay: Infinity });
}
