/**
 * Looks after a replica: says what is not as it should be, and sets how much it may take on.
 *
 * Owns: the conditions about memory, clock, shards that heal and shards that nobody can be asked about. Does not own: the
 * disk's (disk-keeper.ts). Core: it is told the time and changes nothing but ReplicaState.admission.
 *
 * R4: the rows that a replica holds are what its memory is used for, and only their number bounds it. Beyond the budget
 * it first takes no more rows of what is not served yet (a bootstrap of another log or history takes as much again as what
 * is served), and a tenth above it none at all: shards then stand still, and say how old they are, rather than
 * have the process die.
 */
import type { ConditionBoard, ConditionSeverity, ConditionText } from '@freshet/kit/conditions.ts';
import { toHex } from '@freshet/kit/hex.ts';
import type { PendingSwitch } from './generations.ts';
import type { Admission, ReplicaState } from './replica-state.ts';
import type { LinkReport } from './shard-link.ts';

/** By how much the wall clock may part from the monotonic one between two looks, microseconds. */
const JUMP_US = 1_000_000;
/** How long a jump is told. */
const JUMP_TOLD_US = 600_000_000;
/** By how much the wall clock may be behind log time, which ingest's clock made. */
const BEHIND_US = 5_000_000;
/** How long a shard may be without upstream before that is told. */
const ALONE_US = 15_000_000;
const STOP_SHARE = 1.1;
const RESUME_SHARE = 0.95;

export interface WatchOptions {
  readonly state: ReplicaState;
  readonly conditions: ConditionBoard;
  /** How a shard is followed. */
  readonly link: (shard: number) => LinkReport | undefined;
  /** Bytes that rows may take; 0: any. */
  readonly budgetBytes: number;
}

/** A view that waits for a new generation of its route. */
export interface PendingGeneration extends PendingSwitch {
  /** The name in the newest definitions that have it. */
  readonly name: string;
  /** Since when it waits, as far as this process knows: by the wall clock, microseconds. */
  readonly sinceUs: number;
}

/** The instants of a look, microseconds. */
export interface Now {
  readonly wallUs: number;
  readonly monotonicUs: number;
}

export class ReplicaWatch {
  readonly #options: WatchOptions;
  #before: Now | undefined;
  #jumpedUs = -Infinity;
  #jump = '';
  #healing: readonly number[] = [];
  readonly #aloneSinceUs = new Map<number, number>();
  #pending: readonly PendingGeneration[] = [];

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  /** The views that wait for a new generation, as of the last look. */
  get pending(): readonly PendingGeneration[] {
    return this.#pending;
  }

  /** To be called about every second. */
  look(now: Now): void {
    this.#memory();
    this.#healed();
    this.#clock(now);
    this.#upstream(now);
    this.#generations(now);
  }

  #tell(holds: boolean, id: string, text: () => ConditionText, severity: ConditionSeverity = 'warning'): void {
    if (holds) this.#options.conditions.raise(id, text(), severity);
    else this.#options.conditions.clear(id);
  }

  #memory(): void {
    const { state, budgetBytes } = this.#options;
    if (budgetBytes === 0) return;
    const { bytes } = state;
    state.admission = admission(bytes / budgetBytes, state.admission);
    const taken = state.admission === 'none' ? 'no shard moves on' : 'no view is built and no other log is followed';
    const text = (): ConditionText => ({
      code: 'LIMIT_EXCEEDED',
      message: `the replica's rows take about ${mib(bytes)} of the ${mib(budgetBytes)} that they may: ${taken}`,
      remedy: 'give it more memory (--memory-budget, and --max-old-space-size of Node), or serve fewer views from it',
    });
    this.#tell(state.admission !== 'all', 'replica/memory', text, 'problem');
  }

  #healed(): void {
    const { healing } = this.#options.state;
    for (const shard of this.#healing) {
      if (!healing.includes(shard)) this.#options.conditions.clear(`replica/shard/${shard}/healing`);
    }
    this.#healing = healing;
    for (const shard of healing) {
      const text = (): ConditionText => ({
        code: 'DATA_DAMAGED',
        message: `the rows of shard ${shard} were damaged on disk: its keys cannot be read until upstream has sent them again`,
        remedy: 'nothing, if upstream can be reached; look at the disk if it happens again',
        place: `shard ${shard}`,
      });
      this.#tell(true, `replica/shard/${shard}/healing`, text);
    }
  }

  #clock(now: Now): void {
    const before = this.#before ?? now;
    this.#before = now;
    const jumpUs = now.wallUs - before.wallUs - (now.monotonicUs - before.monotonicUs);
    if (Math.abs(jumpUs) > JUMP_US) {
      this.#jumpedUs = now.monotonicUs;
      this.#jump = `the wall clock jumped by ${seconds(jumpUs)}; values in windows follow it`;
    }
    const jumped = now.monotonicUs - this.#jumpedUs < JUMP_TOLD_US;
    const remedy = 'keep the clock by NTP, with slewing';
    this.#tell(jumped, 'replica/clock/jump', () => ({ code: 'CLOCK_JUMP', message: this.#jump, remedy }));
    let logUs = 0;
    for (const { served } of this.#options.state.shards.values()) logUs = Math.max(logUs, served.completeThroughUs);
    const behindUs = logUs - now.wallUs;
    const message = `the wall clock is ${seconds(behindUs)} behind the log's; rows are read as of their log time`;
    this.#tell(behindUs > BEHIND_US, 'replica/clock/behind', () => ({ code: 'CLOCK_JUMP', message, remedy }));
  }

  #generations({ wallUs }: Now): void {
    const { state } = this.#options;
    this.#pending = state.pending.map((next) => {
      const known = this.#pending.find((p) => p.viewId === next.viewId && p.generation === next.generation);
      return { ...next, name: known?.name ?? nameOf(state, next.viewId), sinceUs: known?.sinceUs ?? wallUs };
    });
    const [first] = this.#pending;
    const text = (): ConditionText => ({
      code: 'UNAVAILABLE',
      message:
        `${this.#pending.length} view(s) wait for a new generation of their rows: ${first?.name} for generation ` +
        `${first?.generation}, which ${first?.ready} of ${state.shardCount} shards have, since ${isoTime(first?.sinceUs)}; ` +
        'the rows of the one before are served, as old as they say',
      remedy: "nothing, while compute reads the sources anew; freshet status shows each shard's progress",
    });
    this.#tell(first !== undefined, 'replica/generations', text);
  }

  #upstream({ monotonicUs }: Now): void {
    let first: string | undefined;
    let alone = 0;
    for (const shard of this.#options.state.shards.keys()) {
      const report = this.#options.link(shard);
      if (report?.upstream !== undefined) {
        this.#aloneSinceUs.delete(shard);
        continue;
      }
      const sinceUs = this.#aloneSinceUs.get(shard) ?? monotonicUs;
      this.#aloneSinceUs.set(shard, sinceUs);
      if (monotonicUs - sinceUs < ALONE_US) continue;
      alone += 1;
      first ??= `shard ${shard}: ${report?.reason ?? 'no node offers it'}`;
    }
    const text = (): ConditionText => ({
      code: 'UNAVAILABLE',
      message: `${alone} of ${this.#options.state.shards.size} shards cannot be followed and grow old (${first})`,
      remedy: 'check that compute runs and can be reached from here; what is here is served meanwhile',
    });
    this.#tell(alone > 0, 'replica/upstream', text);
  }
}

function nameOf({ sets }: ReplicaState, viewId: string): string {
  for (const { views } of sets) {
    const view = views.find((plan) => toHex(plan.viewId) === viewId);
    if (view !== undefined) return view.name;
  }
  return viewId;
}

/** What a replica may take on at a share of its budget; it takes on more again a little below where it stopped. */
function admission(share: number, before: Admission): Admission {
  if (share >= STOP_SHARE) return 'none';
  if (before === 'none' && share >= 1) return 'none';
  if (share >= 1) return 'served';
  return before !== 'all' && share >= RESUME_SHARE ? 'served' : 'all';
}

function mib(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}

function isoTime(us = 0): string {
  return new Date(us / 1000).toISOString();
}

function seconds(us: number): string {
  return `${(us / 1_000_000).toFixed(1)} s`;
}
