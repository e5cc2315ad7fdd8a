/**
 * Rounds of violence against a whole mesh of real processes: any of them, Postgres and a second compute node included,
 * killed or held still, alone or together, while transactions commit.
 *
 * Owns what happens to whom, drawn from a seed that is told. Does not own the verdict: that is SQL's and the version watch's.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Role } from '@freshet/cli/mesh/mesh.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import type { MeshUnderTest } from './mesh-under-test.ts';

const ROLES: readonly Role[] = ['ingest', 'compute', 'serve', 'registry'];
const COMPUTE = join(import.meta.dirname, '../../services/compute/src/main.ts');
const HEALTHY_MS_MAX = 60_000;

type Violence = (round: Round) => Promise<string>;

interface Round {
  readonly under: MeshUnderTest;
  readonly random: Random;
  readonly second: SecondCompute;
}

const VIOLENCE: readonly Violence[] = [
  async ({ under, random }) => {
    const role = random.pick(ROLES);
    await under.mesh.kill(role);
    return `SIGKILL ${role}`;
  },
  async ({ under, random }) => {
    const roles = ROLES.filter(() => random.oneIn(2));
    await Promise.all(roles.map((role) => under.mesh.kill(role)));
    return `SIGKILL ${roles.join(', ') || 'nobody'}`;
  },
  async ({ under }) => {
    await Promise.all(ROLES.map((role) => under.mesh.kill(role)));
    return 'SIGKILL everything';
  },
  async ({ under, random }) => {
    const role = random.pick(ROLES);
    const ms = random.pick([100, 700, 3_000]);
    await heldStill(pidsOf(under.mesh.pid(role)), ms);
    return `SIGSTOP ${role} for ${ms} ms`;
  },
  async ({ under, random }) => {
    await under.database.kill();
    await pause(random.pick([0, 500]));
    await under.restartDatabase();
    return 'SIGKILL Postgres';
  },
  async ({ under, random }) => {
    const ms = random.pick([200, 1_500]);
    const pid = Number(readFileSync(join(under.database.dataDirectory, 'postmaster.pid'), 'utf8').split('\n')[0]);
    await heldStill(withChildren(pid), ms);
    return `SIGSTOP Postgres for ${ms} ms`;
  },
  async ({ second, random }) => {
    const ms = random.pick([500, 4_000]);
    await heldStill(pidsOf(second.pid), ms);
    return `SIGSTOP the second compute for ${ms} ms`;
  },
  async ({ second }) => {
    await second.restart();
    return 'SIGKILL the second compute';
  },
];

export interface ChaosOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly onRound?: ((round: number, what: string) => void) | undefined;
}

/** Runs the rounds; resolves when all processes are healthy again. Returns what was done, by kind, and how often. */
export async function runChaos(under: MeshUnderTest, options: ChaosOptions): Promise<Map<string, number>> {
  const random = new Random(`chaos/${options.seed}`);
  const second = new SecondCompute(under);
  const done = new Map<string, number>();
  try {
    await second.restart();
    for (let round = 0; round < options.rounds; round++) {
      await pause(random.between(50, 900));
      const what = await random.pick(VIOLENCE)({ under, random, second });
      done.set(what, (done.get(what) ?? 0) + 1);
      options.onRound?.(round, what);
      // Half of the time the next blow falls before the mesh has recovered from this one.
      if (random.oneIn(2)) await allHealthy(under);
    }
    await allHealthy(under);
    return done;
  } finally {
    await second.stop();
  }
}

async function allHealthy(under: MeshUnderTest): Promise<void> {
  const signal = AbortSignal.timeout(HEALTHY_MS_MAX);
  for (const role of ROLES) await under.mesh.untilHealthy(role, signal);
}

/** A second node that folds every shard: it is often killed or stale, and must do no harm. */
class SecondCompute {
  readonly #under: MeshUnderTest;
  #child: ChildProcess | undefined;

  constructor(under: MeshUnderTest) {
    this.#under = under;
  }

  get pid(): number | undefined {
    return this.#child?.exitCode === null ? this.#child.pid : undefined;
  }

  async restart(): Promise<void> {
    await this.stop();
    const { mesh, directory } = this.#under;
    this.#child = spawn(
      process.execPath,
      [
        COMPUTE,
        '--registry',
        mesh.addresses.registry,
        '--data-dir',
        join(directory, 'compute-2'),
        '--listen',
        '127.0.0.1:0',
        '--http-listen',
        '127.0.0.1:0',
        '--log-level',
        'error',
      ],
      { stdio: 'ignore' },
    );
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }
}

function pidsOf(pid: number | undefined): number[] {
  return pid === undefined ? [] : [pid];
}

/** A process and its children, where the system tells. */
function withChildren(pid: number): number[] {
  const children = readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid;
    } catch {
      return false; // it is gone by now
    }
  });
  return [pid, ...children.map(Number)];
}

async function heldStill(pids: readonly number[], ms: number): Promise<void> {
  const stopped = pids.filter((pid) => signalled(pid, 'SIGSTOP'));
  await pause(ms);
  for (const pid of stopped) signalled(pid, 'SIGCONT');
}

/** False when the process is gone. */
function signalled(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}
