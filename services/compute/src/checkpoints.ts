/**
 * A process of its own that lists, verifies or restores the checkpoints of a data directory and ends: what
 * `freshet checkpoint` starts, because no service is imported by the command. Writes a JSON object per line on stdout:
 * {"kind": "found" | "verified" | "restored" | "damaged" | "progress" | "aside" | "failed", …}. Exits with 1 when anything
 * was damaged or failed. Logs go to stderr, as everywhere.
 */
import { setImmediate as yieldNow } from 'node:timers/promises';
import { systemClock } from '@freshet/kit/clock.ts';
import { parsers } from '@freshet/kit/config.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { runMain } from '@freshet/kit/main.ts';
import { nodeFileSystem } from '@freshet/log/file-system.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { OPTIONS } from './config.ts';
import { type CheckpointNews, listAll, restoreOne, verifyAll } from './io/checkpoint-tool.ts';
import { ENGINE_FORMAT } from './io/engine.ts';

const CHECKPOINT_OPTIONS = {
  action: {
    description: 'what to do',
    form: 'list|verify|restore',
    parse: parsers.oneOf('list', 'verify', 'restore'),
  },
  dataDir: OPTIONS.dataDir,
  shards: { ...OPTIONS.shards, description: 'the shards that are meant; restore takes one' },
  file: {
    description: 'the checkpoint to restore, instead of the newest',
    form: 'name',
    parse: parsers.text,
    fallback: null,
  },
  logLevel: OPTIONS.logLevel,
} as const;

if (import.meta.main) {
  await runMain({
    name: 'compute',
    about: 'lists, verifies or restores the checkpoints of a data directory, once',
    options: CHECKPOINT_OPTIONS,
    start: async ({ action, dataDir, shards, file }, { signal }) => {
      const options = {
        stores: levelStores,
        files: nodeFileSystem,
        dataDir,
        clock: systemClock,
        yieldNow,
        format: ENGINE_FORMAT,
        checkpointsKept: 1,
      };
      const some = shards === 'all' ? undefined : shards;
      let isFine = true;
      const tell = (news: CheckpointNews): void => {
        if (news.kind === 'damaged') isFine = false;
        write(news.kind === 'damaged' ? { ...news, error: plain(news.error) } : news);
      };
      try {
        if (action === 'list') await listAll(options, some, tell);
        else if (action === 'verify') await verifyAll(options, some, tell);
        else await restoreOne(options, onlyOne(some), file, signal, tell);
      } catch (error) {
        if (!isFreshetError(error)) throw error;
        isFine = false;
        write({ kind: 'failed', error: plain(error) });
      }
      await new Promise((written) => process.stdout.write('', written));
      process.exit(isFine ? 0 : 1);
    },
  });
}

function onlyOne(shards: readonly number[] | undefined): number {
  const [shard] = shards ?? [];
  if (shard !== undefined && shards?.length === 1) return shard;
  throw new FreshetError('INVALID_CONFIG', 'restore takes one shard', { remedy: 'give --shards <number>' });
}

function write(line: unknown): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function plain({ code, message, remedy, place }: FreshetError): Record<string, string> {
  return { code, message, remedy, place };
}
