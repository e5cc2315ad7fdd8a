/**
 * Rounds of violence against a whole mesh of real processes: any of them, Postgres and a second compute node included,
 * killed or held still, alone, some together or all at once, while transactions commit.
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
const SECOND = 'the second compute';
const POSTGRES = 'Postgres';
const HEALTHY_MS_MAX = 60_000;

/** Does it, and says so in words. */
type Violence = (round: Round) => Promise<string>;

interface Round {
  readonly under: MeshUnderTest;
  readonly random: Random;
  readonly second: SecondCompute;
}

const VIOLENCE = {
  'one killed': async ({ under, random }) => {
    const role = random.pick(ROLES);
    await under.mesh.kill(role);
    return `SIGKILL ${role}`;
  },
  'some killed': async ({ under, random, second }) => {
    const victims = some(random, [...ROLES, SECOND]);
    await Promise.all(
      victims.map((victim) => (victim === SECOND ? second.restart() : under.mesh.kill(victim as Role))),
    );
    return `SIGKILL ${victims.join(', ')}`;
  },
  'the mesh killed': async ({ under }) => {
    await Promise.all(ROLES.map((role) => under.mesh.kill(role)));
    return 'SIGKILL the whole mesh';
  },
  'everything killed': async ({ under, random, second }) => {
    const gone = under.database.kill();
    await Promise.all([gone, second.restart(), ...ROLES.map((role) => under.mesh.kill(role))]);
    await pause(random.pick([0, 500]));
    await under.restartDatabase();
    return 'SIGKILL everything, Postgres and the second compute too';
  },
  'one stopped': async ({ under, random }) => {
    const role = random.pick(ROLES);
    const ms = random.pick([100, 700, 3_000]);
    await heldStill(random, [pidsOf(under.mesh.pid(role))], ms);
    return `SIGSTOP ${role} for ${ms} ms`;
  },
  'some stopped': async ({ under, random, second }) => {
    const everybody = [...ROLES, SECOND, POSTGRES];
    const victims = random.oneIn(4) ? everybody : some(random, everybody);
    const ms = random.pick([100, 700, 3_000]);
    const pids = victims.map((victim) => {
      if (victim === POSTGRES) return postgresPids(under);
      return pidsOf(victim === SECOND ? second.pid : under.mesh.pid(victim as Role));
    });
    await heldStill(random, pids, ms);
    return `SIGSTOP ${victims.join(', ')} for ${ms} ms`;
  },
  'Postgres killed': async ({ under, random }) => {
    await under.database.kill();
    await pause(random.pick([0, 500]));
    await under.restartDatabase();
    return 'SIGKILL Postgres';
  },
  'Postgres stopped': async ({ under, random }) => {
    const ms = random.pick([200, 1_500]);
    await heldStill(random, [postgresPids(under)], ms);
    return `SIGSTOP Postgres for ${ms} ms`;
  },
  'the second compute stopped': async ({ second, random }) => {
    const ms = random.pick([500, 4_000]);
    await heldStill(random, [pidsOf(second.pid)], ms);
    return `SIGSTOP the second compute for ${ms} ms`;
  },
  'the second compute killed': async ({ second }) => {
    await second.restart();
    return 'SIGKILL the second compute';
  },
} as const satisfies Readonly<Record<string, Violence>>;

export type ViolenceKind = keyof typeof VIOLENCE;
export const VIOLENCE_KINDS = Object.keys(VIOLENCE) as readonly ViolenceKind[];

export interface ChaosOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly onRound?: ((round: number, what: string) => void) | undefined;
}

/**
 * Runs the rounds; resolves when all processes are healthy again. Returns what was done, by kind, and how often: each kind
 * comes once before any comes again, so as many rounds as there are kinds have them all.
 */
export async function runChaos(
  under: MeshUnderTest,
  options: ChaosOptions,
): Promise<ReadonlyMap<ViolenceKind, number>> {
  const random = new Random(`chaos/${options.seed}`);
  const second = new SecondCompute(under);
  const done = new Map<ViolenceKind, number>();
  let left: ViolenceKind[] = [];
  try {
    await second.restart();
    for (let round = 0; round < options.rounds; round++) {
      await pause(random.between(50, 900));
      if (left.length === 0) left = [...VIOLENCE_KINDS];
      const kind = random.pick(left);
      left = left.filter((other) => other !== kind);
      const what = await VIOLENCE[kind]({ under, random, second });
      done.set(kind, (done.get(kind) ?? 0) + 1);
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

/** Two of them at least. */
function some<T>(random: Random, all: readonly T[]): T[] {
  const first = random.pick(all);
  const another = random.pick(all.filter((one) => one !== first));
  return all.filter((one) => one === first || one === another || random.oneIn(2));
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

function postgresPids(under: MeshUnderTest): number[] {
  const file = readFileSync(join(under.database.dataDirectory, 'postmaster.pid'), 'utf8');
  return withChildren(Number(file.split('\n')[0]));
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

/** Stops them all; then they go on one after the other, in an order that is drawn, so that some find the others still. */
async function heldStill(random: Random, victims: readonly (readonly number[])[], ms: number): Promise<void> {
  let stopped = victims.map((pids) => pids.filter((pid) => signalled(pid, 'SIGSTOP')));
  await pause(ms);
  while (stopped.length > 0) {
    const next = random.pick(stopped);
    for (const pid of next) signalled(pid, 'SIGCONT');
    stopped = stopped.filter((pids) => pids !== next);
    if (stopped.length > 0) await pause(random.pick([0, 200]));
  }
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
