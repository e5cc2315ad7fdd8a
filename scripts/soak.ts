/**
 * npm run soak -- NAME: the long campaigns, of which `npm test` runs a short one each.
 *
 * Owns the list: what each campaign runs, and how much longer than in CI. Progress goes to stderr; the exit code says
 * whether anything failed.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

interface Campaign {
  readonly about: string;
  /** Files that vitest runs, in its projects. */
  readonly projects: readonly string[];
  readonly files: readonly string[];
  /** Environment that makes them long. */
  readonly env: Readonly<Record<string, string>>;
}

const CAMPAIGNS: Readonly<Record<string, Campaign>> = {
  chaos: {
    about: '300 rounds of SIGKILL and SIGSTOP of any process, Postgres included, under load; then SQL has the word',
    projects: ['mesh'],
    files: ['test/e2e/chaos.e2e.test.ts'],
    env: { FRESHET_CHAOS_ROUNDS: '300' },
  },
  mutable: {
    about:
      '60 rounds of every kind of DML, new definitions and generations under SIGKILL and SIGSTOP; each ends equal to SQL',
    projects: ['mesh'],
    files: ['test/e2e/mutable.e2e.test.ts'],
    env: { FRESHET_MUTABLE_ROUNDS: '60' },
  },
  memory: {
    about: 'a transaction of a million rows, a hot key, followers that stopped: every process inside its memory',
    projects: ['mesh'],
    files: ['test/e2e/memory.e2e.test.ts'],
    env: { FRESHET_MEMORY_ROWS: '1000000' },
  },
  oracle: {
    about:
      'histories against the oracle: 10,500 through the fold, 7,000 through the serve handler; 2,100 and 700 of each mode against SQL',
    projects: ['unit', 'postgres'],
    files: [
      'packages/testkit/src/differential',
      'test/differential',
      'packages/engine/src/fold/mutable-last.fuzz.test.ts',
    ],
    env: { FRESHET_FUZZ_RUNS: '35' },
  },
  damage: {
    about:
      '2,000 each of LevelDBs, shards and replicas, and 4,000 logs, damaged: the right answer, or damage that is told',
    projects: ['unit'],
    files: [
      'packages/store/src/level-store.test.ts',
      'packages/log/src/damage.test.ts',
      'packages/replica/src/replica-damage.test.ts',
      'services/compute/src/core/damaged-stores.test.ts',
    ],
    env: { FRESHET_FUZZ_RUNS: '10' },
  },
  'registry-fuzz': {
    about:
      '100,000 malformed requests to the Schema Registry API: each is refused with the right code, memory stays flat',
    projects: ['unit'],
    files: ['services/registry/src/rest/schema-api.fuzz.test.ts'],
    env: { FRESHET_REGISTRY_FUZZ_REQUESTS: '100000' },
  },
  'registry-kill': {
    about: '200 rounds of SIGKILL in a storm of registrations: every acknowledged id is there, none changed or reused',
    projects: ['mesh'],
    files: ['test/e2e/registry-kill.e2e.test.ts'],
    env: { FRESHET_REGISTRY_KILL_ROUNDS: '200' },
  },
  schemas: {
    about: '100,000 pairs each of Avro, Protobuf, JSON draft 7 and 2020-12: what is called compatible can be read',
    projects: ['unit'],
    files: ['packages/schemas'],
    env: { FRESHET_SCHEMA_PAIRS: '100000' },
  },
  'crash-points': {
    about:
      'every I/O of ingest, log, compute and replica as the last one, with many ways for what was not synced to go',
    projects: ['unit'],
    files: ['packages/log', 'packages/replica', 'services/compute', 'services/ingest'],
    env: { FRESHET_FUZZ_RUNS: '20' },
  },
};

function usage(): string {
  const lines = Object.entries(CAMPAIGNS).map(([name, { about }]) => `  ${name.padEnd(14)} ${about}`);
  return [
    'npm run soak -- NAME [options]',
    '',
    ...lines,
    `  ${'simulate'.padEnd(14)} whole meshes under simulated faults, by seed (--help says more)`,
    '',
    'FRESHET_FUZZ_SEED=… repeats the random choices of a run; FRESHET_FUZZ_RUNS=… makes one longer still.',
    '',
  ].join('\n');
}

function main(name: string | undefined, rest: readonly string[]): number {
  if (name === 'simulate') {
    const program = join(import.meta.dirname, '../test/simulation/main.ts');
    return spawnSync(process.execPath, [program, ...rest], { stdio: 'inherit' }).status ?? 1;
  }
  const campaign = name === undefined ? undefined : CAMPAIGNS[name];
  if (campaign === undefined) {
    const asked = name === undefined || name === '--help' || name === '-h';
    (asked ? process.stdout : process.stderr).write(asked ? usage() : `There is no campaign ${name}.\n\n${usage()}`);
    return asked ? 0 : 2;
  }
  const { projects, files, env } = campaign;
  const of = projects.flatMap((project) => ['--project', project]);
  const vitest = spawnSync('vitest', ['run', ...of, '--testTimeout', '86400000', ...files, ...rest], {
    stdio: 'inherit',
    env: { ...env, ...process.env },
  });
  return vitest.status ?? 1;
}

process.exitCode = main(process.argv[2], process.argv.slice(3));
