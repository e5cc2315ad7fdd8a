/**
 * The definitions in force: plans against them, applies plans, publishes them.
 *
 * Owns the order of applies (one at a time) and what is in force. Does not own storage (DefinitionStore), the live shape
 * of tables (TableDescriber), or what definitions mean (@freshet/definitions).
 *
 * R4: resolved definitions are bounded in bytes, at the plan.
 * Invariants: a generation is durable before anybody hears of it; generations only go up, by one; a route's number is
 * never given twice; what was planned is what is applied (the plan's hash covers definitions, contracts, generation).
 */
import { clone, create, equals, toBinary } from '@bufbuild/protobuf';
import { diffDefinitions } from '@freshet/definitions/diff.ts';
import { columnChanges } from '@freshet/definitions/plan-cost.ts';
import { planHash } from '@freshet/definitions/plan-hash.ts';
import { withOwners } from '@freshet/definitions/resolve/owners.ts';
import { resolveDefinitions } from '@freshet/definitions/resolve.ts';
import { type Definitions, DefinitionsSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import {
  ChangeKind,
  type ColumnUse,
  type PlannedChange,
  PlannedChangeSchema,
} from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import {
  type AuditEntry,
  AuditEntrySchema,
  type StoredDefinitions,
  StoredDefinitionsSchema,
} from '@freshet/gen/freshet/registry/v1/storage_pb.ts';
import { type DefinitionSet, DefinitionSetSchema, ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { toFreshetError } from '@freshet/kit/grpc/error-mapping.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { acceptedContracts } from './contract-records.ts';
import { judgeAnswers, type TableDescriber, tableQuestions } from './contracts.ts';
import { judgeApply, type PolicyJudgement, refuseBroken } from './judge-source.ts';
import { Published } from './published.ts';

/** Keeps the definitions over restarts. */
export interface DefinitionStore {
  /** What was saved last; undefined when nothing ever was. */
  load(): Promise<StoredDefinitions | undefined>;
  /** Replaces what is in force and adds the audit entry, both or neither. Resolves when they are durable. */
  save(stored: StoredDefinitions, audit: AuditEntry): Promise<void>;
}

/** Who applies, and why. */
export interface Applier {
  /** The caller's address. */
  readonly peer: string;
  /** As he says it himself; empty: he does not. */
  readonly by?: string;
  readonly message?: string;
  /** Whether contracts that their sources' policies hold rows of are accepted too. */
  readonly acceptsContracts?: boolean;
}

export interface DefinitionKeeperOptions {
  readonly store: DefinitionStore;
  readonly tables: TableDescriber;
  readonly clock: Clock;
  readonly log: Logger;
  readonly conditions: ConditionBoard;
  /** The most that resolved definitions may take; tests bring less. */
  readonly definitionsBytesMax?: number | undefined;
}

/**
 * The most that resolved definitions may take. They are one record of every partition of the log, whose records end at
 * 16 MiB, and lie whole in each shard's commits and on each replica's disk. A view of ten features takes about a
 * kilobyte.
 */
export const DEFINITIONS_BYTES_MAX = 8 * 1024 * 1024;

/** What applying would do. */
export interface Plan {
  readonly hash: Uint8Array;
  readonly changes: readonly PlannedChange[];
  readonly resolved: DefinitionSet;
  readonly notes: readonly string[];
  /** What became of the tables since the contracts in force, of the sources whose tables changed. */
  readonly contracts: readonly PolicyJudgement[];
  /** The columns that are newly read, and those that no longer are. */
  readonly columns: { readonly added: readonly ColumnUse[]; readonly dropped: readonly ColumnUse[] };
  /** The highest route number ever given, once it is applied. */
  readonly highestRoute: number;
}

/** A generation that a node has and this registry never gave. */
interface Stranger {
  readonly generation: bigint;
  readonly peer: string;
}

export class DefinitionKeeper {
  readonly #options: DefinitionKeeperOptions;
  readonly #current: Published<StoredDefinitions>;
  #stranger: Stranger | undefined;
  /** The end of the last apply begun; applies queue behind it. Bounded by the server's limit of calls. */
  #lastApply: Promise<unknown> = Promise.resolve();

  private constructor(options: DefinitionKeeperOptions, stored: StoredDefinitions) {
    this.#options = options;
    this.#current = new Published(stored);
  }

  static async open(options: DefinitionKeeperOptions): Promise<DefinitionKeeper> {
    const stored = await options.store.load();
    return new DefinitionKeeper(options, withOwners(stored ?? create(StoredDefinitionsSchema, { resolved: {} })));
  }

  /** What is in force, as written and as resolved; generation 0 when nothing was applied. */
  get current(): StoredDefinitions {
    return this.#current.value;
  }

  get generation(): bigint {
    return this.current.resolved?.generation ?? 0n;
  }

  /** How many bytes the definitions in force take as a record of the log. */
  get definitionsBytes(): number {
    const { resolved } = this.current;
    return resolved === undefined ? 0 : toBinary(DefinitionSetSchema, resolved).length;
  }

  /** Says what applying would do. Throws INVALID_DEFINITION, SOURCE_NOT_READY or UNAVAILABLE, with all problems at once. */
  async plan(definitions: Definitions, signal: AbortSignal): Promise<Plan> {
    // Taken once: another plan may be applied while the tables are asked for, and this one is not against that.
    const { current: before, generation } = this;
    const previous = generation === 0n ? undefined : before.resolved;
    const questions = tableQuestions(definitions);
    const answers = questions.length === 0 ? [] : await this.#options.tables.describe(questions, signal);
    const contracts = judgeAnswers(definitions, answers);
    const resolution = resolveDefinitions({ definitions, contracts, previous, highestRoute: before.highestRoute });
    const { resolved, notes, changed, highestRoute } = resolution;
    checkSize(resolved, this.#options.definitionsBytesMax ?? DEFINITIONS_BYTES_MAX);
    const rows = new Map(answers.flatMap(({ rows: count }, i) => rowsOf(questions[i]?.source, count)));
    const changes = changed ? changesOf(diffDefinitions(previous, resolved, rows)) : [];
    const columns = columnChanges(previous, resolved);
    const told = changed || isWrittenAlike(before, definitions) ? notes : [...notes, WORDS_CHANGE];
    const judged = judgeApply(previous, resolved);
    return {
      hash: planHash(resolved, generation),
      changes,
      resolved,
      notes: told,
      contracts: judged,
      columns,
      highestRoute,
    };
  }

  /**
   * Puts the plan with that hash in force and returns the generation in force. Throws PLAN_OUTDATED when planning now
   * gives another plan, DATA_DAMAGED when a node has definitions that this registry does not know, CONTRACT_NOT_ACCEPTED
   * when a table changed so that its rows are held, and the applier does not accept that.
   */
  async apply(definitions: Definitions, hash: Uint8Array, applier: Applier, signal: AbortSignal): Promise<bigint> {
    const turn = this.#lastApply.then(() => this.#apply(definitions, hash, applier, signal));
    this.#lastApply = turn.catch(() => undefined);
    return turn;
  }

  /** The resolved definitions in force, when newer than `known` and at each change, until the signal aborts. */
  async *follow(known: bigint, peer: string, signal: AbortSignal): AsyncGenerator<DefinitionSet> {
    this.notice(known, peer);
    let told = known;
    for await (const stored of this.#current.follow(signal)) {
      if (stored.resolved === undefined || stored.resolved.generation <= told) continue;
      told = stored.resolved.generation;
      yield stored.resolved;
    }
  }

  /**
   * A node that knows a higher generation than this registry ever gave means that the registry lost its data (or that
   * the node belongs to another mesh). Applying would then give out generations and route numbers for a second time,
   * and folds would take one source's rows for another's: applies are refused until somebody looks.
   */
  notice(known: bigint, peer: string): void {
    if (known <= this.generation || known <= (this.#stranger?.generation ?? 0n)) return;
    this.#stranger = { generation: known, peer };
    this.#options.conditions.raise('definitions/unknown', strangerError(this.#stranger, this.generation), 'problem');
  }

  #refuseStranger(): void {
    if (this.#stranger !== undefined && this.#stranger.generation > this.generation)
      throw strangerError(this.#stranger, this.generation);
  }

  async #save(stored: StoredDefinitions, audit: AuditEntry): Promise<void> {
    const { store, conditions } = this.#options;
    try {
      await store.save(stored, audit);
    } catch (error) {
      const { code, message, remedy, place } = toFreshetError(error);
      conditions.raise(
        'definitions/not-kept',
        { code, message: `nothing can be applied: ${message}`, remedy, place },
        'problem',
      );
      throw error;
    }
    conditions.clear('definitions/not-kept');
  }

  async #apply(definitions: Definitions, hash: Uint8Array, applier: Applier, signal: AbortSignal): Promise<bigint> {
    this.#refuseStranger();
    const plan = await this.plan(definitions, signal);
    // Again: while the plan waited for tables, the node that has them may have told what it knows.
    this.#refuseStranger();
    if (!sameBytes(plan.hash, hash)) {
      throw new FreshetError(
        'PLAN_OUTDATED',
        'the definitions in force or the tables changed since the plan was made',
        {
          remedy: 'plan again, look at the changes, and apply that plan',
        },
      );
    }
    if (applier.acceptsContracts !== true) refuseBroken(plan.contracts);
    signal.throwIfAborted();
    const before = this.current;
    if (plan.resolved.generation === this.generation && isWrittenAlike(before, definitions)) return this.generation;
    const stored = create(StoredDefinitionsSchema, {
      written: clone(DefinitionsSchema, definitions),
      resolved: plan.resolved,
      highestRoute: plan.highestRoute,
      auditEntries: before.auditEntries + 1n,
    });
    const appliedAtUs = BigInt(this.#options.clock.nowUs());
    const audit = create(AuditEntrySchema, {
      appliedAtUs,
      generation: plan.resolved.generation,
      planHash: plan.hash,
      changes: [...plan.changes],
      peer: applier.peer,
      by: applier.by ?? '',
      message: applier.message ?? '',
      contracts: acceptedContracts(before.resolved, plan.resolved, {
        acceptedBy: applier.by || applier.peer,
        acceptedAtUs: appliedAtUs,
      }),
    });
    await this.#save(stored, audit);
    this.#current.publish(stored);
    const message = plan.changes.length === 0 ? 'definitions written anew; nothing changes' : 'definitions applied';
    const accepted = plan.contracts.filter(({ gate }) => gate === 'hold').map(({ source }) => source);
    this.#options.log.info(message, {
      generation: this.generation,
      changes: plan.changes.length,
      accepted,
      ...applier,
    });
    return this.generation;
  }
}

/** What people wrote about the definitions is no change of what is in force, and is kept all the same. */
const WORDS_CHANGE = 'What is computed stays as it is; how it is written (descriptions, tags, places) changes.';

function isWrittenAlike({ written }: StoredDefinitions, definitions: Definitions): boolean {
  return written !== undefined && equals(DefinitionsSchema, written, definitions);
}

function rowsOf(source: string | undefined, count: bigint | undefined): [string, bigint][] {
  return source === undefined || count === undefined ? [] : [[source, count]];
}

function strangerError({ generation, peer }: Stranger, own: bigint): FreshetError {
  return new FreshetError(
    'DATA_DAMAGED',
    `the node at ${peer} has definitions of generation ${generation}, but this registry has only reached ${own}`,
    {
      remedy:
        "restore the registry's data directory, or start every node of the mesh with an empty one; " +
        'if the node belongs to another mesh, correct its --registry and restart this registry',
      place: peer,
    },
  );
}

function checkSize(resolved: DefinitionSet, bytesMax: number): void {
  const bytes = toBinary(DefinitionSetSchema, resolved).length;
  if (bytes <= bytesMax) return;
  const [largest] = resolved.views
    .map((view) => ({ name: view.name, bytes: toBinary(ViewPlanSchema, view).length }))
    .sort((a, b) => b.bytes - a.bytes);
  const mib = (n: number): string => `${(n / 1024 ** 2).toFixed(1)} MiB`;
  throw new FreshetError(
    'INVALID_DEFINITION',
    `the definitions resolve to ${mib(bytes)} in ${resolved.views.length} views; ${mib(bytesMax)} is the limit`,
    {
      remedy:
        'take features that nobody reads out, or divide the definitions between two meshes; ' +
        `the largest view is ${largest?.name ?? ''} with ${mib(largest?.bytes ?? 0)}`,
      ...(largest === undefined ? {} : { place: `view ${largest.name}` }),
    },
  );
}

/** A difference that the language has no words for is still a change. */
function changesOf(changes: readonly PlannedChange[]): readonly PlannedChange[] {
  if (changes.length > 0) return changes;
  const effect = 'routes or contracts change; no view is folded again';
  return [create(PlannedChangeSchema, { kind: ChangeKind.CHANGED, subject: 'definitions', effect })];
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
