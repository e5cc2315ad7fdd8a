/**
 * npm run bench -- fold | serve | freshness | followers | bootstrap [--json] [--runs N]
 *
 * Each prints one JSON line with --json, else a short table: medians of interleaved runs with a baseline of the same
 * run. What is measured, against what, and what is not: docs/benchmarks.md.
 */
import { Command } from 'commander';
import { benchBackfill } from './backfill.ts';
import { benchBootstrap } from './bootstrap.ts';
import { benchCheckpoint } from './checkpoint.ts';
import { benchCrc } from './crc.ts';
import { benchFold } from './fold.ts';
import { benchFoldMutable } from './fold-mutable.ts';
import { benchFollowers } from './followers.ts';
import { benchFreshness } from './freshness.ts';
import { benchHotKey } from './hot-key.ts';
import { benchKeys } from './keys.ts';
import { benchLog } from './log.ts';
import { benchNewView } from './new-view.ts';
import { benchPlan } from './plan.ts';
import { benchRegistry } from './registry.ts';
import { benchRegistryHostile } from './registry-hostile.ts';
import { benchReplica } from './replica.ts';
import { benchReplicaReads } from './replica-reads.ts';
import { benchSchemaCompatibility } from './schema-compatibility.ts';
import { benchServe } from './serve.ts';

export type BenchResult = Readonly<Record<string, number | string>>;

const BENCHES: Readonly<
  Record<string, { readonly about: string; readonly run: (runs: number) => Promise<BenchResult> }>
> = {
  followers: {
    about: 'what a hundred followers cost a compute node, by delivered row, against what one costs',
    run: benchFollowers,
  },
  bootstrap: { about: 'how fast a follower with nothing gets every row of a compute node', run: benchBootstrap },
  fold: {
    about: 'events per second through the engine and through a shard, on one core; appended, inserted, updated',
    run: async (runs) => ({ ...(await benchFold(runs)), ...(await benchFoldMutable(runs)) }),
  },
  'hot-key': {
    about: 'extremes taken out of a key with 100,000 live rows, against updates that take out none',
    run: benchHotKey,
  },
  log: { about: 'append with fsync, checked read and scrub of the log, against bare files', run: benchLog },
  serve: {
    about: 'GetFeatures against a bare grpc-js server that returns as many bytes (needs h2load)',
    run: benchServe,
  },
  replica: {
    about: 'a replica takes, writes and loads a million rows, and what they cost in memory',
    run: benchReplica,
  },
  'replica-reads': {
    about: 'reads of a replica in the same process, against a bare Map of objects',
    run: benchReplicaReads,
  },
  checkpoint: {
    about: 'checkpoint, verify, restore and scrub of a shard, and its restart, against bare writing',
    run: benchCheckpoint,
  },
  keys: {
    about: 'a compute process with a thousand to a million keys: events a second, bytes a key, memory',
    run: benchKeys,
  },
  backfill: {
    about: 'a table of two million rows read for a new view: rows a second, and what it does to freshness',
    run: benchBackfill,
  },
  'new-view': { about: 'a view that is new over ten million logged events, until it is complete', run: benchNewView },
  'schema-compatibility': {
    about: 'parsing and judging Avro, Protobuf and JSON schemas of a thousand fields',
    run: benchSchemaCompatibility,
  },
  registry: {
    about: 'the Schema Registry API with 10,000 subjects: registrations and lookups, against a bare node server',
    run: benchRegistry,
  },
  'registry-hostile': {
    about: 'lookups while others post schemas that take the engine to its limits, against lookups without them',
    run: benchRegistryHostile,
  },
  plan: { about: 'plan and apply of a thousand views, against parsing and resolving them', run: benchPlan },
  crc: { about: 'what checksums cost the fold and the reads of a store, against a constant', run: benchCrc },
  freshness: { about: 'commit to readable, against commit to a bare replication client', run: benchFreshness },
};

const program = new Command('npm run bench --').description('Measures Freshet against baselines of the same run.');
for (const [name, bench] of Object.entries(BENCHES)) {
  program
    .command(name)
    .description(bench.about)
    .option('--json', 'one JSON line', false)
    .option('--runs <n>', 'interleaved runs', '5')
    .action(async (options: { json: boolean; runs: string }) => {
      const runs = Number(options.runs);
      if (!Number.isSafeInteger(runs) || runs < 1 || runs > 100)
        program.error('--runs: expected a whole number from 1 to 100');
      const result = await bench.run(runs);
      if (options.json) process.stdout.write(`${JSON.stringify({ bench: name, ...result })}\n`);
      else for (const [key, value] of Object.entries(result)) process.stdout.write(`${key.padEnd(32)} ${value}\n`);
    });
}
await program.parseAsync();
process.exit(0);
