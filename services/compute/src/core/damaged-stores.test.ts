/**
 * Goal: whatever happens to the files of a shard's store and its checkpoints, no wrong row is ever shown: it is right, or
 * the damage is noticed, the shard made anew, and then it is right.
 * Method: real LevelDB with many small tables, a checkpoint and commits after it; each run damages a copy of the directory
 * in one to three places (bit flip, zeroes, garbage, truncation, a file gone), starts a node
 * on it and reads every row twice: at once, and after all state was read through. FRESHET_FUZZ_RUNS=10: ten times as many.
 */
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { fuzzParameters } from '@freshet/testkit/differential/fuzz-options.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkpointDirectory, shardDirectory } from '../io/node-storage.ts';
import {
  changeRecord,
  createCountingDigest,
  createCountingFold,
  definitionsRecord,
  viewId,
} from '../testing/counting-fold.ts';
import { RIG_LIMITS } from '../testing/shard-rig.ts';
import { SteppedLog } from '../testing/stepped-log.ts';
import { testStorage } from '../testing/test-storage.ts';
import { Gate } from './gate.ts';
import { PassPace } from './pass-pace.ts';
import { ShardHost } from './shard-host.ts';

const RUNS = must(fuzzParameters(200).numRuns);
const SEED = process.env['FRESHET_FUZZ_SEED'] ?? '20261123';
const KEYS = 200;

const random = new Random('records');
const RECORDS = [
  definitionsRecord(1, [{ n: 0, route: 0 }]),
  ...Array.from({ length: 3_000 }, () => changeRecord(0, keyBytes(int64KeyString(random.between(1, KEYS))))),
];

let root: string;
let expected: { rows: string; digest: string };

interface Node {
  readonly host: ShardHost;
  readonly log: SteppedLog;
  readonly stop: () => Promise<void>;
}

function start(dataDir: string): Node {
  const log = new SteppedLog(RECORDS);
  const host = new ShardHost({
    log,
    // Tables of a few blocks, so that damage meets every part of them.
    ...testStorage(dataDir, systemClock, { writeBufferBytes: 64 * 1024 }),
    createFold: createCountingFold,
    createDigest: createCountingDigest,
    clock: systemClock,
    logger: silentLogger,
    yieldNow: () => turn(),
    limits: { ...RIG_LIMITS, cacheBytes: 0 },
    pages: new Gate(2),
    passPace: new PassPace(),
  });
  const controller = new AbortController();
  const run = host.run([0], controller.signal);
  run.catch(() => undefined);
  return {
    host,
    log,
    stop: async () => {
      controller.abort();
      await run;
    },
  };
}

async function settled({ host, log }: Node, position: number): Promise<void> {
  log.show(position);
  const isThere = (): boolean => {
    const shard = host.shard(0);
    return shard?.position === position && shard.fold.builds().length === 0;
  };
  while (!isThere()) await turn();
}

/** Every row; undefined when the shard says that it is damaged. */
function rowsOf(host: ShardHost): string | undefined {
  try {
    const shard = host.shard(0);
    if (shard === undefined) return undefined;
    const rows: string[] = [];
    for (let key = 1; key <= KEYS; key++) {
      const row = shard.row(viewId(0), int64KeyString(key));
      rows.push(`${key} ${row === undefined ? '' : Buffer.from(row.bytes).toString()}`);
    }
    return rows.join('\n');
  } catch (error) {
    if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
    host.shard(0)?.commitWanted.set();
    return undefined;
  }
}

async function digestOf(host: ShardHost): Promise<string | undefined> {
  try {
    const { digest } = await must(host.shard(0)).digest();
    return Buffer.from(digest).toString('latin1');
  } catch (error) {
    if (isFreshetError(error, 'DATA_DAMAGED')) host.shard(0)?.commitWanted.set();
    else if (!isFreshetError(error)) throw error;
    return undefined;
  }
}

/** Damages a file in place; returns what it did. */
async function damage(path: string, by: Random): Promise<string> {
  const content = await readFile(path);
  const at = by.between(0, Math.max(0, content.length - 1));
  const end = Math.min(content.length, at + by.between(1, 600));
  const kind = by.pick(['flip', 'zero', 'garbage', 'truncate', 'gone', 'flip']);
  if (kind === 'gone') await rm(path);
  else if (kind === 'truncate') await writeFile(path, content.subarray(0, at));
  else {
    for (let i = at; i < (kind === 'flip' ? Math.min(at + 1, content.length) : end); i++) {
      const was = must(content[i]);
      content[i] = kind === 'flip' ? was ^ (1 << by.between(0, 7)) : kind === 'zero' ? 0 : by.between(0, 255);
    }
    await writeFile(path, content);
  }
  return `${kind} at ${at} of ${basename(path)}`;
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'freshet-damage-'));
  const whole = join(root, 'whole');
  for (const [from, to] of [
    [0, 900],
    [900, 1_500],
    [1_500, 2_600],
  ] as const) {
    const node = start(whole);
    for (let at = from + 150; at <= to; at += 150) {
      await settled(node, at);
      await must(node.host.shard(0)).digest();
    }
    await settled(node, to);
    if (to === 1_500) await node.host.takeCheckpoint(0);
    await node.stop();
  }
  const fresh = start(join(root, 'fresh'));
  await settled(fresh, RECORDS.length);
  expected = { rows: must(rowsOf(fresh.host)), digest: must(await digestOf(fresh.host)) };
  await fresh.stop();
});

afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

describe('damaged files of a shard', () => {
  it(
    `F1: never show as a wrong row, and are mended (${RUNS} stores)`,
    async () => {
      let repaired = 0;
      for (let run = 0; run < RUNS; run++) {
        const by = new Random(`${SEED}/${run}`);
        const dataDir = join(root, 'run');
        await cp(join(root, 'whole'), dataDir, { recursive: true });
        const did: string[] = [];
        for (let places = by.between(1, 3); places > 0; places--) {
          const directory = by.oneIn(6) ? checkpointDirectory(dataDir, 0) : shardDirectory(dataDir, 0);
          const names = (await readdir(directory)).filter(
            (name) => name !== 'owner' && name !== 'LOCK' && !name.startsWith('LOG'),
          );
          if (names.length > 0) did.push(await damage(join(directory, by.pick(names.sort())), by));
        }
        const where = `FRESHET_FUZZ_SEED=${SEED}, run ${run}: ${did.join(', ')}`;
        const node = start(dataDir);
        await settled(node, RECORDS.length);
        const first = rowsOf(node.host);
        if (first !== undefined) expect(first, where).toBe(expected.rows);
        let digest: string | undefined;
        for (let tries = 0; digest === undefined && tries < 10; tries++) {
          await settled(node, RECORDS.length);
          digest = await digestOf(node.host);
        }
        expect(digest, where).toBe(expected.digest);
        expect(rowsOf(node.host), where).toBe(expected.rows);
        if (node.host.repairs(0) > 0) {
          repaired += 1;
          expect(
            node.host.conditionList.map(({ id }) => id),
            where,
          ).toContain('shard/0/mended');
        }
        await node.stop();
        await rm(dataDir, { recursive: true, force: true });
      }
      expect(repaired).toBeGreaterThan(RUNS / 4);
    },
    3_000 * RUNS,
  );
});
