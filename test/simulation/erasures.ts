/**
 * Erases in a simulation: who is to be forgotten, how far that is, and what must hold from which step on.
 *
 * Owns the checks. Nobody serves a row of before the erase once he says that he is past it (F1, R1). At each answer that a
 * place is clean, and when the receipt is complete, no file or store there has a byte of the entity, unless it wrote again.
 * In the end no node has a value of it but those of what it wrote since, which are held against the database's rows like
 * everybody's. Does not own the asking (erase-operator.ts).
 */
import { isDeadRow, unseenColumns } from '@freshet/engine/rows/dead-row.ts';
import { decodeRow } from '@freshet/engine/rows/row-codec.ts';
import type { EraseState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { fromLatin1 } from '@freshet/replica/latin1.ts';
import type { Replica } from '@freshet/replica/replica.ts';
import { rowKeyOfText } from '@freshet/replica/row-key.ts';
import { int64KeyString } from '@freshet/values/key.ts';
import { partitionOfKeyString } from '@freshet/values/partition.ts';
import type { ShardHost } from '../../services/compute/src/core/shard-host.ts';
import type { SimMachine } from './machine.ts';
import { COMPUTES, type EraseAction, type EraseStep, MACHINES, type Machine } from './plan.ts';

/** An erase of the plan, as it goes. */
export interface Erasure {
  readonly plan: EraseAction;
  readonly key: string;
  /** What of the key, and of its text, nothing else has. */
  readonly marks: readonly string[];
  eraseId: string;
  tries: number;
  state: EraseState | undefined;
  isComplete: boolean;
  /** The steps at which a machine is still to die. */
  strikes: EraseAction['strikes'];
}

export interface ErasuresWorld {
  readonly partitions: number;
  readonly machine: (name: Machine) => SimMachine;
  /** Of nodes that run. */
  readonly hosts: () => readonly (readonly [Machine, ShardHost])[];
  readonly note: (what: string) => void;
  readonly fail: (what: string) => void;
  /** Whether a disk is, or was, beyond what is promised: what it said that it did may not be done. */
  readonly isBroken: () => boolean;
  /** Whether the log may have lost what it acknowledged, and have other records at its offsets. */
  readonly logMayLose: () => boolean;
  readonly after: (delayUs: number, run: () => void) => void;
  /** Commits a row of the user, if the database is there; else somewhat later. */
  /** Unless it is not wanted any more by the time that the database is there. */
  readonly write: (user: number, amount: number, isWanted: () => boolean) => void;
  /** Deletes the user's rows in the database. */
  readonly forget: (user: number) => void;
}

/** What was put out of the way for damage; a receipt names it. */
const ASIDE = /\.aside-\d+|\.damaged(-\d+)?$/;

export class Erasures {
  readonly all: Erasure[] = [];
  /** By key, up to which version rows are of before the erase: Infinity while that is not known. */
  readonly erasedUpTo = new Map<string, number>();
  readonly #world: ErasuresWorld;

  constructor(world: ErasuresWorld) {
    this.#world = world;
  }

  /** The rows are deleted from the database, and somebody is to have the mesh forget the user. */
  begin(plan: EraseAction): void {
    const key = int64KeyString(BigInt(plan.user));
    this.#world.forget(plan.user);
    this.erasedUpTo.set(key, Number.POSITIVE_INFINITY);
    // All keys begin with the same two bytes.
    const marks = [key.slice(2), String(plan.user)];
    const about = { eraseId: `erase-${this.all.length}`, tries: 0, state: undefined, isComplete: false };
    this.all.push({ plan, key, marks, ...about, strikes: plan.strikes });
  }

  // What the operator sees.

  onStep(erasure: Erasure, step: EraseStep): void {
    const { after, machine, note } = this.#world;
    const due = erasure.strikes.find((strike) => strike.step === step);
    if (due === undefined) return;
    erasure.strikes = erasure.strikes.filter((strike) => strike !== due);
    after(due.afterUs, () => {
      note(`a machine died at a step of an erase: ${step}`);
      machine(due.machine).kill();
      after(50_000, () => machine(due.machine).start());
    });
  }

  onState(erasure: Erasure, state: EraseState): void {
    const { after, note, write, logMayLose } = this.#world;
    const isFirst = erasure.state === undefined;
    erasure.state = state;
    if (!logMayLose()) this.erasedUpTo.set(erasure.key, Number(state.offset));
    if (isFirst) {
      // Not before: what was written before the Erase record is erased with all the rest; and so it is by that of the next one.
      const { eraseId } = erasure;
      for (const { amount, afterUs } of erasure.plan.again) {
        after(afterUs, () => write(erasure.plan.user, amount, () => erasure.eraseId === eraseId));
        note('an entity writes again after its erase');
      }
    }
    if (state.completedAtUs === undefined || erasure.isComplete) return;
    erasure.isComplete = true;
    const records = state.places.find(({ kind }) => kind === 'log')?.count ?? 0n;
    note(`an erase was done: ${records > 0n ? 'records became fillers' : 'nothing was there'}`);
    if (state.places.some(({ detail }) => detail.startsWith('left out'))) note('an erase left out who was away');
  }

  onAnew(erasure: Erasure): void {
    const { forget, note } = this.#world;
    note('an erase was begun anew');
    forget(erasure.plan.user);
    this.erasedUpTo.set(erasure.key, Number.POSITIVE_INFINITY);
    erasure.eraseId += '-';
    erasure.tries = 0;
    erasure.state = undefined;
    erasure.isComplete = false;
  }

  // What places say.

  /** A node says that it has nothing more of a key; `laterRows`: but what came since. */
  saidClean(name: Machine, entityKey: Uint8Array, laterRows: boolean, asidesToo: boolean): void {
    const erasure = this.all.find(({ key }) => key === Buffer.from(entityKey).toString('latin1'));
    if (erasure === undefined || laterRows || erasure.plan.again.length > 0) return;
    const places = this.#placesWith(name, erasure).filter((place) => asidesToo || !ASIDE.test(place));
    if (places.length > 0)
      this.#world.fail(`${name} said that it forgot user ${erasure.plan.user}, who is in ${places.join(', ')}`);
  }

  /** Ingest says that a receipt is complete: nothing is left there, and each compute node that has something is named. */
  saidComplete(state: EraseState): void {
    const erasure = this.all.find((one) => one.eraseId === state.eraseId);
    if (erasure === undefined || erasure.isComplete || erasure.plan.again.length > 0) return;
    const complete = `the erase of user ${erasure.plan.user} is complete`;
    const places = this.#placesWith('ingest', erasure);
    if (places.length > 0) this.#world.fail(`${complete}, who is in ${places.join(', ')} of ingest`);
    for (const name of COMPUTES) {
      const isNamed = state.places.some(({ place }) => place === `compute ${name}, shard ${state.partition}`);
      const [first] = isNamed ? [] : this.#placesWith(name, erasure);
      if (first !== undefined) this.#world.fail(`${complete}, does not name ${name}, and there he is in ${first}`);
    }
  }

  /** `anywhere`: also what a store has deleted, and not rewritten. */
  #placesWith(name: Machine, { marks }: Erasure, anywhere = true): string[] {
    const machine = this.#world.machine(name);
    if (this.#world.isBroken() || machine.lies) return [];
    const has = (bytes: Uint8Array): boolean => marks.some((mark) => Buffer.from(bytes).includes(mark, 0, 'latin1'));
    const { files, stores } = machine;
    return [
      ...files.paths().filter((path) => has(files.content(path))),
      ...stores.directories.filter((directory) => marks.some((mark) => stores.holds(directory, mark, anywhere))),
    ];
  }

  // What is looked at.

  /** Whether a replica serves a row of before an erase although it says that it is past it, in words. */
  served(replica: Replica, nowUs: number): string | undefined {
    if (this.all.length === 0 || this.#world.logMayLose()) return undefined;
    const shards = new Map(replica.shards().map((shard) => [shard.shard, shard]));
    for (const { state, key, plan } of this.all) {
      if (state === undefined) continue;
      const { partition, logId, offset, logTimeUs } = state;
      const report = shards.get(partition);
      if (report?.logId !== toHex(logId)) continue;
      for (const view of replica.catalog.views.values()) {
        const table = view.tables[partition];
        const row = table?.rows.get(rowKeyOfText(key));
        if (table === undefined || row === undefined || row.bytes === '' || row.version > Number(offset)) continue;
        if (Math.min(report.completeThroughUs, table.completeThroughUs) <= Number(logTimeUs)) continue;
        if (!isDead(fromLatin1(row.bytes), view.plan, nowUs))
          return `F1: view ${view.name} has version ${row.version} of user ${plan.user}, erased at ${offset}`;
      }
    }
    return undefined;
  }

  /** What is not forgotten yet, in words. */
  unsettled(replica: Replica, nowUs: number): string | undefined {
    for (const { plan, key, isComplete, state } of this.all) {
      if (!isComplete) {
        const open = state?.places.filter(({ done }) => !done).map(({ place, detail }) => `${place} (${detail})`);
        return `user ${plan.user} is not erased yet${open === undefined ? '' : `: ${open.join(', ')}`}`;
      }
      if (plan.again.length > 0) continue;
      const kept = this.#rowOf(replica, key, nowUs) ?? this.#stateOf(key, nowUs);
      if (kept !== undefined) return `${kept} has a row of user ${plan.user}, who was erased`;
    }
    return undefined;
  }

  /**
   * Where something is left of who never wrote again, when all that is dead was swept; in words. A node that was away was not
   * asked to rewrite its store.
   */
  left(): string | undefined {
    for (const erasure of this.all) {
      if (erasure.plan.again.length > 0) continue;
      const all = MACHINES.flatMap((name) => this.#placesWith(name, erasure, false).map((place) => `${name} ${place}`));
      const places = all.filter((place) => !ASIDE.test(place));
      if (places.length > 0) return `user ${erasure.plan.user}, who was erased, is in ${places.join(', ')}`;
    }
    return undefined;
  }

  #rowOf(replica: Replica, key: string, nowUs: number): string | undefined {
    for (const view of replica.catalog.views.values()) {
      const row = view.tables[this.#partitionOf(key)]?.rows.get(rowKeyOfText(key));
      if (row === undefined || row.bytes === '') continue;
      if (!isDead(fromLatin1(row.bytes), view.plan, nowUs)) return `view ${view.name}`;
    }
    return undefined;
  }

  #stateOf(key: string, nowUs: number): string | undefined {
    for (const [name, host] of this.#world.hosts()) {
      const shard = host.shard(this.#partitionOf(key));
      for (const plan of shard?.fold.definitions?.views ?? []) {
        try {
          const row = shard?.row(toHex(plan.viewId), key);
          if (row !== undefined && !isDead(row.bytes, plan, nowUs)) return `${name}, view ${plan.name},`;
        } catch (error) {
          // A state that was damaged on the disk is made good by now.
          if (!isFreshetError(error)) throw error;
        }
      }
    }
    return undefined;
  }

  #partitionOf(key: string): number {
    return partitionOfKeyString(key, this.#world.partitions);
  }
}

function isDead(bytes: Uint8Array, plan: ViewPlan, nowUs: number): boolean {
  return isDeadRow(decodeRow(bytes), unseenColumns(plan), nowUs);
}
