/**
 * npm run bench -- fold | serve | freshness [--json] [--runs N]
 *
 * Each prints one JSON line with --json, else a short table: medians of interleaved runs with a baseline of the same
 * run. What is measured, against what, and what is not: docs/benchmarks.md.
 */
import { Command } from 'commander';
import { benchFold } from './fold.ts';
import { benchFreshness } from './freshness.ts';
import { benchServe } from './serve.ts';

export type BenchResult = Readonly<Record<string, number | string>>;

const BENCHES: Readonly<
  Record<string, { readonly about: string; readonly run: (runs: number) => Promise<BenchResult> }>
> = {
  fold: { about: 'events per second through the engine and through a shard, on one core', run: benchFold },
  serve: {
    about: 'GetFeatures against a bare grpc-js server that returns as many bytes (needs h2load)',
    run: benchServe,
  },
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
