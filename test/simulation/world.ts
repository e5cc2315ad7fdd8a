/**
 * One simulated run: a database, an ingest node with its log, two compute nodes that fold the same shards, two edges;
 * a plan of what happens to them; and somebody who knows what is right and looks every 50 ms of its time.
 *
 *     SimPostgres ──▶ ingest ──▶ compute-a, compute-b ──▶ edge-1, edge-2
 *                       └──▶ truth ──────── compared ────────┘
 *
 * Owns the verdict: never wrong, whatever happens (unbounded faults); and when all faults have ended, everything committed
 * is served within a bounded time (bounded faults converge). Runs production code; only disk, network, clock and database are simulated.
 */
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { SegmentLog } from '@freshet/log/segment-log.ts';
import type { Replica } from '@freshet/replica/replica.ts';
import { Network } from '@freshet/testkit/simulation/network.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { Scheduler } from '@freshet/testkit/simulation/scheduler.ts';
import type { NodeUpkeep } from '../../services/compute/src/core/node-upkeep.ts';
import { runCompute } from './compute-machine.ts';
import { runEdge } from './edge-machine.ts';
import { act } from './faults.ts';
import { runIngest } from './ingest-machine.ts';
import { type Life, SimMachine } from './machine.ts';
import { forbidEscapes } from './no-escape.ts';
import { MACHINES, type Machine, type Plan } from './plan.ts';
import { ReplicaCheck } from './replica-check.ts';
import { definitionsOf, totalsOf } from './shop.ts';
import { SimPostgres } from './sim-postgres.ts';
import { LogTruth } from './truth.ts';

const START_US = 1_750_000_000_000_000;
/** How often the replicas are looked at, microseconds. */
const CHECK_US = 50_000;
/** How long after the last fault everything must be served, microseconds. */
const SETTLE_US = 180_000_000;
/** More events than this in one run are a loop that never waits. */
const STEPS_MAX = 3_000_000;

export interface Verdict {
  /** What is wrong, in words; undefined: nothing. */
  readonly wrong: string | undefined;
  /** Simulated seconds until everything was served. */
  readonly seconds: number;
  readonly steps: number;
  readonly records: number;
  readonly rowsChecked: number;
  /** What was logged, with how often: which paths were taken. */
  readonly seen: ReadonlyMap<string, number>;
  /** A hash of everything that happened: the same seed gives the same. */
  readonly trace: string;
}

interface Watched {
  readonly replica: Replica;
  readonly check: ReplicaCheck;
}

export class World {
  readonly plan: Plan;
  readonly scheduler = new Scheduler(START_US);
  readonly network: Network;
  readonly postgres: SimPostgres;
  readonly machines = new Map<Machine, SimMachine>();
  readonly random: Random;
  readonly seen = new Map<string, number>();
  readonly #truth: LogTruth;
  #logId = '';
  #definitions: DefinitionSet | undefined;
  #anew = 0;
  readonly #hosts = new Map<Machine, NodeUpkeep>();
  readonly #replicas = new Map<Machine, Watched>();
  #wrong: string | undefined;
  #trace = 0;
  #rowsChecked = 0;

  constructor(plan: Plan) {
    this.plan = plan;
    this.random = new Random(`world/${plan.seed}`);
    this.network = new Network(this.scheduler, this.random.branch('network'));
    this.postgres = new SimPostgres(this.scheduler);
    this.#truth = new LogTruth(plan.partitions);
    for (const name of MACHINES) {
      this.machines.set(
        name,
        new SimMachine({
          name,
          scheduler: this.scheduler,
          random: this.random.branch(name),
          boot: (life) => this.#boot(name, life),
          onLog: (machine, level, message) => this.note(`${machine.replace(/-.$/, '')} ${level}: ${message}`),
          onFault: (machine, error) => this.#fail(`${machine} broke a promise: ${describe(error)}`),
        }),
      );
    }
  }

  machine(name: Machine): SimMachine {
    return this.machines.get(name) as SimMachine;
  }

  /** Notes that something happened. */
  note(what: string): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + 1);
    this.#mix(what);
  }

  /** The source is to be read anew, as a new generation of its route. */
  readAnew(): void {
    this.#anew += 1;
  }

  define(set: number): void {
    this.#definitions = definitionsOf(set, this.#definitions);
  }

  /** Asks a compute node, if it runs, to take a checkpoint of every shard. */
  askCheckpoint(name: Machine): void {
    const host = this.machine(name).process === undefined ? undefined : this.#hosts.get(name);
    for (const shard of host?.numbers ?? []) {
      host?.takeCheckpoint(shard).then(
        () => this.note('took a checkpoint'),
        () => this.note('could not take a checkpoint'),
      );
    }
  }

  async run(): Promise<Verdict> {
    const unhandled = (error: unknown): void => this.#fail(`a promise that nobody took rejected: ${describe(error)}`);
    process.on('unhandledRejection', unhandled);
    const allowEscapes = forbidEscapes((error) => this.#fail(describe(error)));
    try {
      for (const machine of this.machines.values()) machine.start();
      for (const { atUs, action } of this.plan.actions) this.scheduler.after(atUs, () => act(this, action));
      this.#keepChecking();
      const stop = (): boolean => this.#wrong !== undefined || this.#isRunaway();
      await this.scheduler.runUntil(START_US + this.plan.durationUs, stop);
      if (this.#wrong === undefined) await this.#settle();
      return this.#verdict();
    } finally {
      allowEscapes();
      process.off('unhandledRejection', unhandled);
      for (const machine of this.machines.values()) machine.kill();
    }
  }

  /** All faults end; everything must come to rest in the truth. */
  async #settle(): Promise<void> {
    this.network.heal();
    this.postgres.comeBack();
    for (const machine of this.machines.values()) {
      machine.isFull = false;
      machine.clock.skewUs = 0;
      machine.process?.resume();
      if (machine.process !== undefined) machine.process.slowness = 1;
      machine.start();
    }
    const deadlineUs = this.scheduler.nowUs + SETTLE_US;
    let why: string | undefined = 'nothing was looked at';
    while (this.scheduler.nowUs < deadlineUs && this.#wrong === undefined && why !== undefined) {
      await this.scheduler.runUntil(this.scheduler.nowUs + 500_000, () => this.#isRunaway());
      why = this.#unsettled();
    }
    if (this.#wrong === undefined && why !== undefined) this.#fail(`does not converge: ${why}`);
  }

  /** What is still missing, by the database's own rows; undefined: everything is served. */
  #unsettled(): string | undefined {
    const totals = totalsOf(this.postgres.rows());
    for (const name of ['edge-1', 'edge-2'] as const) {
      const watched = this.#replicas.get(name);
      if (watched === undefined) return `${name} has no replica`;
      const why = watched.check.unsettled(watched.replica, this.#truth, totals, this.#definitions, this.plan.trims);
      if (why !== undefined) return `${name}: ${why}`;
    }
    return undefined;
  }

  #boot(name: Machine, life: Life): Promise<void> {
    const { network, postgres } = this;
    const { partitions, trims } = this.plan;
    const definitions = (): DefinitionSet | undefined => this.#definitions;
    switch (name) {
      case 'ingest':
        return runIngest(life, {
          ...{ network, postgres, partitions, trims, definitions },
          anew: () => this.#anew,
          onLog: (log) => this.#tap(log),
        });
      case 'compute-a':
      case 'compute-b':
        return runCompute(life, { network, partitions, address: name, onHost: (host) => this.#hosts.set(name, host) });
      default: {
        const upstreams = ['compute-a', 'compute-b'];
        this.#replicas.delete(name);
        const onReplica = (replica: Replica): void => {
          this.#replicas.set(name, { replica, check: new ReplicaCheck() });
        };
        return runEdge(life, { network, partitions, upstreams, definitions, onReplica });
      }
    }
  }

  /** Follows the log as it lies on its disk, to know the truth. */
  #tap(log: SegmentLog): void {
    if (this.#logId !== '' && this.#logId !== log.logId) this.#fail('L1: the log was made anew');
    this.#logId = log.logId;
    for (const [partition, truth] of this.#truth.partitions.entries()) {
      void (async () => {
        try {
          for await (const { entries } of log.read(partition, truth.end, new AbortController().signal)) {
            for (const entry of entries) {
              const wrong = truth.take(entry);
              if (wrong !== undefined) this.#fail(`partition ${partition}: ${wrong}`);
            }
          }
        } catch {
          // The process that had the log is gone; the next one is tapped anew.
        }
      })();
    }
  }

  #keepChecking(): void {
    this.scheduler.after(CHECK_US, () => {
      for (const [name, { replica, check }] of this.#replicas) {
        if (this.machine(name).process === undefined) continue;
        const wrong = check.check(replica, this.#truth, this.#logId);
        this.#mix(`${name} ${check.rowsChecked}`);
        if (wrong !== undefined) this.#fail(`${name}: ${wrong}`);
      }
      this.#keepChecking();
    });
  }

  #isRunaway(): boolean {
    if (this.scheduler.steps > STEPS_MAX) this.#fail(`after ${STEPS_MAX} events it has not come to rest`);
    return this.#wrong !== undefined;
  }

  #fail(what: string): void {
    const atUs = this.scheduler.nowUs - START_US;
    this.#wrong ??= `at ${(atUs / 1e6).toFixed(6)} s: ${what}`;
  }

  #mix(what: string): void {
    for (let i = 0; i < what.length; i++) this.#trace = Math.imul(this.#trace ^ what.charCodeAt(i), 0x01000193);
    this.#trace = Math.imul(this.#trace ^ (this.scheduler.nowUs % 2 ** 31), 0x85ebca6b);
  }

  #verdict(): Verdict {
    for (const { check } of this.#replicas.values()) this.#rowsChecked += check.rowsChecked;
    return {
      wrong: this.#wrong,
      seconds: (this.scheduler.nowUs - START_US) / 1e6,
      steps: this.scheduler.steps,
      records: this.#truth.partitions.reduce((sum, { end }) => sum + end, 0),
      rowsChecked: this.#rowsChecked,
      seen: this.seen,
      trace: (this.#trace >>> 0).toString(16),
    };
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
