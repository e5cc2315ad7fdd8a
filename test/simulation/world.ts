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

import { setImmediate as turn } from 'node:timers/promises';
import { Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { SegmentLog } from '@freshet/log/segment-log.ts';
import type { Replica } from '@freshet/replica/replica.ts';
import { Network } from '@freshet/testkit/simulation/network.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { Scheduler } from '@freshet/testkit/simulation/scheduler.ts';
import { SimProcess } from '@freshet/testkit/simulation/sim-process.ts';
import type { ErasingNode } from '../../packages/cli/src/commands/erase-mesh.ts';
import type { ShardHost } from '../../services/compute/src/core/shard-host.ts';
import { runCompute } from './compute-machine.ts';
import { DefinitionCheck, unsettledDefinitions } from './definition-check.ts';
import { runEdge } from './edge-machine.ts';
import { EraseOperator } from './erase-operator.ts';
import { Erasures } from './erasures.ts';
import { act } from './faults.ts';
import { PartitionHistories } from './histories.ts';
import { LOG_DIRECTORY, runIngest } from './ingest-machine.ts';
import { isLossTold } from './loss-told.ts';
import { type Life, SimMachine } from './machine.ts';
import { forbidEscapes } from './no-escape.ts';
import { type OrdersTruth, orderRows, unsettledOrders } from './orders.ts';
import { COMPUTES, type EraseAction, MACHINES, type Machine, type Plan } from './plan.ts';
import { ReplicaCheck } from './replica-check.ts';
import { definitionsOf, FIRST_DRAWN, totalsOf } from './shop.ts';
import { SimPostgres } from './sim-postgres.ts';
import { TrimCheck } from './trim-check.ts';
import type { PartitionTruth } from './truth.ts';

const START_US = 1_750_000_000_000_000;
/** How often the replicas are looked at, microseconds. */
const CHECK_US = 50_000;
/** How long after the last fault everything must be served, microseconds. */
const SETTLE_US = 180_000_000;
/** What an operator does when a loss was told and nothing comes to rest, and how long after the last fault. */
const REMEDIES = [
  { kind: 'resync', afterUs: 25_000_000 },
  { kind: 'new log', afterUs: 70_000_000 },
] as const;
/** How long somebody looks on after all is at rest, in a run that lingers, microseconds. */
const LINGER_US = 90_000_000;
/** How long somebody goes on looking then: the log ticks once in that time, and a tick is not everywhere at once. */
const TICK_US = 1_000_000;
/** A database that is away is written to somewhat later, microseconds. */
const WRITE_AGAIN_US = 300_000;
/** More events than this in one run are a loop that never waits. */
const STEPS_MAX = 3_000_000;
/** How an edge says that its disk damaged rows. */
const LOST_ROWS = /lost rows of shard|were damaged on disk|store is damaged/;

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
  readonly definitions: DefinitionCheck;
}

export class World {
  readonly plan: Plan;
  readonly scheduler = new Scheduler(START_US);
  readonly network: Network;
  readonly postgres: SimPostgres;
  readonly machines = new Map<Machine, SimMachine>();
  readonly random: Random;
  readonly seen = new Map<string, number>();
  readonly #histories: readonly PartitionHistories[];
  readonly #trimCheck = new TrimCheck();
  /** Whether the log's disk lied or was damaged: then, and only then, the log may have lost what it acknowledged. */
  #logMayLose = false;
  #definitions: DefinitionSet | undefined;
  /** The number of the set in force. */
  #set = 0;
  /** Everything that was ever in force, by generation. */
  readonly #sets = new Map<bigint, DefinitionSet>();
  #anew = 0;
  #releases = false;
  readonly #erasures: Erasures;
  readonly #operator: SimProcess;
  readonly #hosts = new Map<Machine, ShardHost>();
  readonly #replicas = new Map<Machine, Watched>();
  readonly #clocksUs = new Map<Machine, number>();
  /** Machines whose process found rows damaged on its disk. */
  readonly #lostRows = new Set<Machine>();
  #wrong: string | undefined;
  #trace = 0;
  #rowsChecked = 0;
  /** Whether something happened that is beyond what is promised. */
  #isBroken = false;
  #resync: string | undefined;

  constructor(plan: Plan) {
    this.plan = plan;
    this.random = new Random(`world/${plan.seed}`);
    this.network = new Network(this.scheduler, this.random.branch('network'));
    this.postgres = new SimPostgres(this.scheduler);
    const machineClock = { skewUs: 0 };
    const random = this.random.branch('operator process');
    this.#operator = new SimProcess({ name: 'operator', scheduler: this.scheduler, random, machineClock });
    this.#erasures = new Erasures({
      partitions: plan.partitions,
      machine: (name) => this.machine(name),
      hosts: () => [...this.#hosts].filter(([name]) => this.machine(name).process !== undefined),
      note: (what) => this.note(what),
      fail: (what) => this.#fail(what),
      isBroken: () => this.#isBroken,
      logMayLose: () => this.#logMayLose,
      after: (delayUs, run) => this.scheduler.after(delayUs, run),
      write: (user, amount, isWanted) => this.#write(user, amount, isWanted),
      forget: (user) => this.postgres.forget(user),
    });
    this.#histories = Array.from({ length: plan.partitions }, (_, number) => new PartitionHistories(number));
    for (const name of MACHINES) {
      this.machines.set(
        name,
        new SimMachine({
          name,
          scheduler: this.scheduler,
          random: this.random.branch(name),
          boot: (life) => this.#boot(name, life),
          onLog: (machine, level, message) => {
            if (LOST_ROWS.test(message)) this.#lostRows.add(name);
            this.note(`${machine.replace(/-.$/, '')} ${level}: ${message}`);
          },
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

  /** A user's rows are deleted from the database, and somebody has the mesh forget the user. */
  erase(action: EraseAction): void {
    this.#erasures.begin(action);
    if (this.#erasures.all.length > 1) return;
    const operator = new EraseOperator(this.#operator, this.random.branch('operator'), {
      network: this.network,
      nodes: () => this.#nodes(),
      away: () => COMPUTES.filter((name) => this.machine(name).process === undefined),
      logMayLose: () => this.#logMayLose,
      onStep: (erasure, step) => this.#erasures.onStep(erasure, step),
      onState: (erasure, state) => this.#erasures.onState(erasure, state),
      onAnew: (erasure) => this.#erasures.onAnew(erasure),
      onFault: (error) => this.#fail(`whoever erases met a broken promise: ${describe(error)}`),
    });
    void operator.run(this.#erasures.all);
  }

  /** The nodes that the registry knows of now. */
  #nodes(): ErasingNode[] {
    const running = MACHINES.filter((name) => name !== 'ingest' && this.machine(name).process !== undefined);
    return running.map((name) => {
      const host = this.#hosts.get(name);
      const about = { nodeId: name, address: name };
      if (name.startsWith('edge')) return { ...about, role: Role.SERVE, shards: [] };
      return { ...about, role: Role.COMPUTE, shards: host?.shards.map(({ shard }) => shard) ?? [] };
    });
  }

  /** A row of a user is written as soon as the database is there. */
  #write(user: number, amount: number, isWanted: () => boolean): void {
    if (!isWanted()) return;
    if (this.postgres.isAway) this.scheduler.after(WRITE_AGAIN_US, () => this.#write(user, amount, isWanted));
    else this.postgres.commit([{ user, amount, lateUs: 0 }]);
  }

  /** What is held of a table is released from now on, whenever there is something. */
  releaseHeld(): void {
    this.#releases = true;
  }

  /** Notes damage beyond what is promised: from now on it must be made good or announced. */
  breakDisk(machine: Machine, how: string): void {
    this.note(`${machine.replace(/-.$/, '')} broke: ${how}`);
    this.#isBroken = true;
    if (machine === 'ingest') this.#logMayLose = true;
  }

  /** The power goes. What a disk that lies then loses is beyond what is promised, whichever fault cut the power. */
  powerOff(name: Machine, keep: number): void {
    const machine = this.machine(name);
    if (machine.lies) this.breakDisk(name, 'the power went after syncs that were lies');
    machine.powerOff(keep);
  }

  /** Applies a set of definitions, as the registry would. */
  define(set: number): void {
    const resolved = definitionsOf(set, this.#definitions);
    this.#definitions = resolved;
    this.#set = set;
    this.#sets.set(resolved.generation, resolved);
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
      if (this.#wrong === undefined && this.plan.lingers) await this.#linger();
      return this.#verdict();
    } finally {
      for (const machine of this.machines.values()) machine.bury();
      this.#operator.kill();
      await turn();
      allowEscapes();
      process.off('unhandledRejection', unhandled);
    }
  }

  /** All faults end; everything must come to rest in the truth. */
  async #settle(): Promise<void> {
    this.network.heal();
    this.postgres.comeBack();
    this.postgres.rename(false);
    this.releaseHeld();
    for (const machine of this.machines.values()) {
      machine.isFull = false;
      machine.clock.skewUs = 0;
      machine.process?.resume();
      if (machine.process !== undefined) machine.process.slowness = 1;
      machine.start();
    }
    const deadlineUs = this.scheduler.nowUs + SETTLE_US;
    const remedies = [...REMEDIES];
    const beganUs = this.scheduler.nowUs;
    let why: string | undefined = 'nothing was looked at';
    while (this.scheduler.nowUs < deadlineUs && this.#wrong === undefined && why !== undefined) {
      await this.scheduler.runUntil(this.scheduler.nowUs + 500_000, () => this.#isRunaway());
      why = this.#unsettled();
      const next = remedies[0];
      if (why === undefined || next === undefined || this.scheduler.nowUs < beganUs + next.afterUs) continue;
      // Asked now, not when the faults ended: a lie that was under way then may have lost what it promised only since.
      if (!this.#isBroken) continue;
      remedies.shift();
      const told = [...this.seen.keys()].find((what) => isLossTold(what));
      if (told === undefined) this.#fail(`does not converge, and tells of no loss: ${why}`);
      else this.#remedy(next.kind);
    }
    if (this.#wrong === undefined && why !== undefined) this.#fail(`does not converge: ${why}`);
  }

  /** Looks on until what is dead was swept away, on both sides: what is served stays what it was. */
  async #linger(): Promise<void> {
    await this.scheduler.runUntil(this.scheduler.nowUs + LINGER_US, () => this.#isRunaway());
    const untilUs = this.scheduler.nowUs + TICK_US;
    let why = this.#unsettled();
    while (why !== undefined && this.#wrong === undefined && this.scheduler.nowUs < untilUs) {
      await this.scheduler.runUntil(this.scheduler.nowUs + CHECK_US, () => this.#isRunaway());
      why = this.#unsettled();
    }
    // What a broken disk did may show only now: told, remedied and come to rest as when the faults ended.
    if (this.#wrong === undefined && why !== undefined && this.#isBroken) return this.#settle();
    why ??= this.#isBroken ? undefined : this.#erasures.left();
    if (this.#wrong === undefined && why !== undefined) this.#fail(`was at rest, and is no more: ${why}`);
  }

  /** Does what the messages say to do about a loss, as an operator would. */
  #remedy(kind: (typeof REMEDIES)[number]['kind']): void {
    this.note(`remedy: ${kind}`);
    this.#resync = kind;
    const ingest = this.machine('ingest');
    ingest.kill();
    if (kind === 'new log') {
      for (const path of ingest.files.paths()) if (path.startsWith(LOG_DIRECTORY)) ingest.files.takeAway(path);
      // A shard that was made anew too often waits long: its process is started again.
      for (const name of COMPUTES) this.machine(name).kill();
    }
    for (const machine of this.machines.values()) machine.start();
  }

  /** What is still missing, by the database's own rows; undefined: everything is served. */
  #unsettled(): string | undefined {
    const totals = totalsOf(this.postgres.rows());
    const truths = this.#histories.flatMap(({ truth }) => truth ?? []);
    if (truths.length < this.#histories.length) return 'there is no log';
    for (const name of ['edge-1', 'edge-2'] as const) {
      const watched = this.#replicas.get(name);
      if (watched === undefined) return `${name} has no replica`;
      const why = watched.check.unsettled(watched.replica, truths, totals, this.#definitions);
      if (why !== undefined) return `${name}: ${why}`;
      const kept = this.#erasures.unsettled(watched.replica, this.scheduler.nowUs);
      if (kept !== undefined) return `${name}: ${kept}`;
      const orders = unsettledOrders(watched.replica, this.#ordersTruth(truths));
      if (orders !== undefined) return `${name}: ${orders}`;
      if (this.#set < FIRST_DRAWN) continue;
      const rows = this.postgres.rows();
      const now = { rows, orders: orderRows(this.postgres.live) };
      const wrong = unsettledDefinitions(watched.replica, this.#set, now, this.plan.partitions);
      if (wrong !== undefined) return `${name}: ${wrong}`;
    }
    return undefined;
  }

  #ordersTruth(truths: readonly PartitionTruth[]): OrdersTruth {
    const { postgres, plan, scheduler } = this;
    const { live, joined, snapshotAt } = postgres;
    // Routes that began once only began together, with the first definitions.
    const routes = this.#definitions?.routes.map(({ route }) => route) ?? [];
    const isFirst = truths.every((truth) => routes.every((route) => truth.routeGeneration(route) === 1));
    return {
      ...{ live, joined, users: plan.users, nowUs: scheduler.nowUs },
      // What was held is joined when it is released.
      snapshotAt: isFirst && !postgres.wasRenamed ? snapshotAt : undefined,
      logTimesUs: truths.map(({ logTimeUs }) => logTimeUs),
    };
  }

  #boot(name: Machine, life: Life): Promise<void> {
    this.#lostRows.delete(name);
    const { network, postgres } = this;
    const { partitions, trims } = this.plan;
    const definitions = (): DefinitionSet | undefined => this.#definitions;
    switch (name) {
      case 'ingest':
        return runIngest(life, {
          ...{ network, postgres, partitions, trims, definitions, resync: this.#resync },
          anew: () => this.#anew,
          releases: () => this.#releases,
          onErased: (erase, log) => {
            if (erase.completedAtUs !== undefined) this.#erasures.saidComplete(erase);
            const onWrong = (wrong: string): void => void (this.#logMayLose || this.#fail(wrong));
            for (const partition of this.#histories) void partition.readAgain(log, onWrong);
          },
          trimCheck: this.#trimCheck,
          // A disk that lost what it acknowledged may have lost who was promised what.
          onWrongTrim: (wrong) => void (this.#logMayLose || this.#fail(wrong)),
          onLog: (log) => this.#tap(log),
        });
      case 'compute-a':
      case 'compute-b':
        return runCompute(life, {
          ...{ network, partitions, address: name },
          onHost: (host) => this.#hosts.set(name, host),
          onSwept: () => this.note('compute: freed what says nothing any more'),
          onReading: () => {
            if (!this.#trimCheck.isKnown(name)) this.#fail(`L2: ${name} reads the log, and told nobody what it needs`);
          },
          onForgotten: ({ entityKey, setAside }, { viewsWithLaterRows = [] }) =>
            this.#erasures.saidClean(name, entityKey, viewsWithLaterRows.length > 0, setAside),
        });
      default: {
        const upstreams = COMPUTES;
        this.#replicas.delete(name);
        const onReplica = (replica: Replica): void => {
          this.#replicas.set(name, {
            replica,
            check: new ReplicaCheck(this.#erasures.erasedUpTo),
            definitions: new DefinitionCheck(),
          });
        };
        return runEdge(life, {
          ...{ network, partitions, address: name, upstreams, definitions, onReplica },
          onConfirmed: ({ entityKey, setAside }, { rowsLeft, laterRows }) => {
            if (rowsLeft === 0) this.#erasures.saidClean(name, entityKey, laterRows > 0, setAside);
          },
        });
      }
    }
  }

  /** Follows the log as it lies on its disk, to know the truth. */
  #tap(log: SegmentLog): void {
    for (const partition of this.#histories) {
      void partition.follow(
        log,
        () => this.#logMayLose,
        (wrong) => this.#fail(wrong),
      );
    }
  }

  #keepChecking(): void {
    this.scheduler.after(CHECK_US, () => {
      for (const [name, { replica, check, definitions }] of this.#replicas) {
        if (this.machine(name).process === undefined) continue;
        const { switches, waits } = definitions;
        const wrong =
          check.check(replica, this.#histories, this.#furthestClockUs(name)) ??
          definitions.check(replica, this.#sets, this.#lostRows.has(name)) ??
          this.#erasures.served(replica, this.scheduler.nowUs);
        for (const what of check.takeSights()) this.note(`edge: ${what}`);
        if (definitions.switches > switches) this.note('edge: a service went over to newer definitions');
        if (definitions.waits > waits) this.note('edge: a service waits, served by older definitions');
        this.#mix(`${name} ${check.rowsChecked}`);
        if (wrong !== undefined) this.#fail(`${name}: ${wrong}`);
      }
      this.#keepChecking();
    });
  }

  /** The furthest that the machine's clock has ever been, microseconds. */
  #furthestClockUs(name: Machine): number {
    const nowUs = this.scheduler.nowUs + this.machine(name).clock.skewUs;
    const furthestUs = Math.max(nowUs, this.#clocksUs.get(name) ?? 0);
    this.#clocksUs.set(name, furthestUs);
    return furthestUs;
  }

  #isRunaway(): boolean {
    if (this.scheduler.steps > STEPS_MAX)
      this.#fail(`after ${STEPS_MAX} events it has not come to rest: ${this.#unsettled()}`);
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
    const misses = this.#histories.some(({ truth }) => (truth?.joinMisses ?? 0) > 0);
    if (misses) this.note('a joined table lacked a row');
    if (this.postgres.timeline > 1 && this.#wrong === undefined)
      this.note('a database that was put back is served as it is');
    return {
      wrong: this.#wrong,
      seconds: (this.scheduler.nowUs - START_US) / 1e6,
      steps: this.scheduler.steps,
      records: this.#histories.reduce((sum, { truth }) => sum + (truth?.end ?? 0), 0),
      rowsChecked: this.#rowsChecked,
      seen: this.seen,
      trace: (this.#trace >>> 0).toString(16),
    };
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
