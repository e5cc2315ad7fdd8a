/**
 * Contracts: which version was in force since when, whom a change would hurt, and how a new shape is accepted.
 *
 * Owns the questions. Does not own what is in force (DefinitionKeeper: to accept a contract is to apply the definitions in
 * force anew, by their plan's hash, against the tables as they are), nor the rules (@freshet/contracts).
 *
 * Invariants: a version's record is written in the batch of the apply that brought it; of what the stream showed and
 * nobody accepted, the newest of each source is kept, so that a source that changes all the time costs no more.
 */
import { clone, create } from '@bufbuild/protobuf';
import { changesBetween } from '@freshet/contracts/change.ts';
import { applyDdl } from '@freshet/contracts/ddl.ts';
import { sameLayout } from '@freshet/definitions/resolve/contract-version.ts';
import {
  type ContractRecord,
  type GivenContracts,
  type SeenContract,
  SeenContractSchema,
} from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { DefinitionsSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { SourcePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { recordOf, sourcesOf } from './contract-records.ts';
import { type TableDescriber, tableQuestions } from './contracts.ts';
import type { Applier, DefinitionKeeper } from './definition-keeper.ts';
import { givenChange, type JudgedChange, judgeSource, type PolicyJudgement } from './judge-source.ts';
import { shownVersion, withSighting } from './shown-versions.ts';

/** Keeps contracts over restarts; those that an apply accepts come with it (DefinitionStore). */
export interface ContractStore {
  /** Of a source, newest first; without a name of all, by name, newest last. */
  contracts(source?: string): Promise<ContractRecord[]>;
  seen(source: string): Promise<SeenContract | undefined>;
  /** Replaces a version's record and forgets what was seen of its source. */
  saveContract(record: ContractRecord): Promise<void>;
  saveSeen(seen: SeenContract): Promise<void>;
}

export interface ContractKeeperOptions {
  readonly store: ContractStore;
  readonly definitions: DefinitionKeeper;
  readonly tables: TableDescriber;
  readonly clock: Pick<Clock, 'nowUs'>;
}

/** What a shape is that the stream showed. */
export interface Reported {
  readonly version: number;
  readonly judgement: PolicyJudgement;
  /** Whether the table came back to that version, and has it still. */
  readonly returned: boolean;
}

export class ContractKeeper {
  readonly #options: ContractKeeperOptions;
  /** Reports are taken one after the other: each reads what the one before wrote. Bounded by the server's limit of calls. */
  #lastReport: Promise<unknown> = Promise.resolve();

  constructor(options: ContractKeeperOptions) {
    this.#options = options;
  }

  /** The newest contract of each source in force, by name ascending. */
  async list(): Promise<ContractRecord[]> {
    const records: ContractRecord[] = [];
    for (const source of this.#sources()) records.push(...(await this.#versions(source)).slice(0, 1));
    return records;
  }

  /** Everything that is known of a source's contracts. Throws INVALID_REQUEST for a source that is not in force. */
  async get(name: string): Promise<{
    readonly versions: readonly ContractRecord[];
    readonly seen: SeenContract | undefined;
    readonly judgement: PolicyJudgement | undefined;
    /** The version that the table has; 0: not known, or none. */
    readonly shownVersion: number;
  }> {
    const source = this.#source(name);
    const versions = await this.#versions(source);
    const shown = await this.#options.store.seen(name);
    // What was accepted since is no other shape any more, whether or not the stream was heard of again.
    const isAccepted = versions.some(
      ({ contract }) => contract !== undefined && shown?.contract !== undefined && sameShape(contract, shown.contract),
    );
    const seen = isAccepted ? undefined : shown;
    const now = shownVersion(versions, seen);
    const another = seen?.contract ?? (now?.isReturn === true ? now.record.contract : undefined);
    const judgement = another === undefined ? undefined : this.#judge(source, { after: another });
    return { versions, seen, judgement, shownVersion: now?.record.contract?.version ?? 0 };
  }

  /** Judges what DDL statements make of the contracts in force. */
  checkDdl(
    ddl: string,
    names: readonly string[],
  ): { judgements: PolicyJudgement[]; notUnderstood: readonly string[]; unread: readonly string[] } {
    const sources = this.#sources(names);
    const tables = sources.flatMap(({ name, contract, origin }) =>
      contract === undefined || origin.case !== 'postgres' ? [] : [{ source: name, contract, ...origin.value }],
    );
    const { outcomes, notUnderstood, unread } = applyDdl(ddl, tables);
    const judgements = outcomes.map(({ source, after, ofTable, renamed, rewritten }) =>
      this.#judge(this.#source(source), { after, hints: { renamed, rewritten }, ofTable }),
    );
    return { judgements, notUnderstood, unread };
  }

  /** Judges contracts that are given, each source's once: to judge is to walk all that reads it. Throws INVALID_REQUEST. */
  checkGiven({ contracts, changes }: GivenContracts, names: readonly string[]): PolicyJudgement[] {
    const wanted = new Set(this.#sources(names).map(({ name }) => name));
    const given = new Set<string>();
    for (const { source } of contracts) {
      if (given.has(source))
        throw new FreshetError('INVALID_REQUEST', `the contract of source ${source} is given twice`, {
          remedy: 'give each source once',
          place: source,
        });
      given.add(source);
    }
    return contracts
      .filter(({ source }) => names.length === 0 || wanted.has(source))
      .map((after) => {
        const known = changes.find(({ source }) => source === after.source);
        const source = this.#source(after.source);
        return this.#judge(source, givenChange(source, after, known));
      });
  }

  /** Judges what the tables are now. Throws UNAVAILABLE, SOURCE_NOT_READY when they cannot be asked. */
  async checkLive(names: readonly string[], signal: AbortSignal): Promise<PolicyJudgement[]> {
    const written = clone(DefinitionsSchema, this.#written());
    const wanted = new Map(this.#sources(names).map((source) => [source.name, source]));
    const questions = tableQuestions(written);
    const answers = questions.length === 0 ? [] : await this.#options.tables.describe(questions, signal);
    const judgements = questions.flatMap(({ source }, i) => {
      const plan = wanted.get(source);
      const answer = answers[i];
      if (plan === undefined || answer === undefined) return [];
      if (answer.contract !== undefined) return [this.#judge(plan, { after: answer.contract })];
      // A table that is gone, or cannot be asked: nothing may look compatible that nobody saw.
      const [problem] = answer.problems;
      throw (
        problem ??
        new FreshetError('SOURCE_NOT_READY', `the table of source ${source} cannot be read`, {
          remedy: 'check that it exists and that ingest may read it',
          place: source,
        })
      );
    });
    return judgements.filter(({ changes }) => changes.length > 0);
  }

  /**
   * Applies the definitions in force against the tables as they are. Without a hash it only says what that would accept.
   * Throws what plans and applies throw: PLAN_OUTDATED, INVALID_DEFINITION when the definitions cannot read the new shape.
   */
  async accept(
    hash: Uint8Array | undefined,
    who: Pick<Applier, 'peer' | 'by' | 'message'>,
    signal: AbortSignal,
  ): Promise<{ generation: bigint; hash: Uint8Array; judgements: PolicyJudgement[] }> {
    const { definitions } = this.#options;
    const written = this.#written();
    const plan = await definitions.plan(written, signal);
    const sources = new Map(this.#sources().map((source) => [source.name, source]));
    const judgements = sourcesOf(plan.resolved).flatMap(({ name, contract }) => {
      const source = sources.get(name);
      return source === undefined || contract === undefined ? [] : [this.#judge(source, { after: contract })];
    });
    const changed = judgements.filter(({ changes }) => changes.length > 0);
    const generation =
      hash === undefined
        ? definitions.generation
        : await definitions.apply(written, hash, { ...who, acceptsContracts: true }, signal);
    return { generation, hash: plan.hash, judgements: changed };
  }

  /**
   * Keeps what the stream showed, and says what it is: the newest version that has this shape, or 0, and whom it hurts under the
   * contract in force. A table that comes back to an earlier version has that one, and its return is kept.
   */
  report(contract: Contract, lsn: bigint): Promise<Reported> {
    const turn = this.#lastReport.then(() => this.#report(contract, lsn));
    this.#lastReport = turn.catch(() => undefined);
    return turn;
  }

  async #report(contract: Contract, lsn: bigint): Promise<Reported> {
    const { store, clock } = this.#options;
    const source = this.#source(contract.source);
    const judgement = this.#judge(source, { after: contract });
    const seenAtUs = BigInt(clock.nowUs());
    let before = await store.seen(source.name);
    const owed = sightingOwed(await this.#records(source), before);
    // Kept before what was seen makes room for another shape.
    if (owed !== undefined) {
      await store.saveContract(owed);
      before = undefined;
    }
    const versions = await this.#records(source);
    const known = versions.find(({ contract: one }) => one !== undefined && sameShape(one, contract));
    if (known === undefined) {
      // Told again after a restart: the first position is the one that counts.
      if (before?.contract === undefined || !sameShape(before.contract, contract))
        await store.saveSeen(create(SeenContractSchema, { contract, lsn, seenAtUs }));
      return { version: 0, judgement, returned: false };
    }
    // What was accepted since it was seen is no other shape.
    const between = before?.contract !== undefined && !sameShape(before.contract, contract) ? before : undefined;
    const record = withSighting(known, { lsn, seenAtUs }, versions, between);
    if (record !== undefined) await store.saveContract(record);
    const isBack = (record ?? known).returns.length > 0;
    const now = record === undefined ? versions : versions.map((one) => (one === known ? record : one));
    const shown = shownVersion(now, record === undefined ? between : undefined);
    const version = known.contract?.version ?? 0;
    return { version, judgement, returned: isBack && shown?.record.contract?.version === version };
  }

  #judge(source: SourcePlan, change: JudgedChange): PolicyJudgement {
    return judgeSource(source, change, this.#options.definitions.current.resolved);
  }

  /** Newest first, each since when the stream shows it, also when that was before it was accepted. */
  async #versions(source: SourcePlan): Promise<ContractRecord[]> {
    const records = await this.#records(source);
    const owed = sightingOwed(records, await this.#options.store.seen(source.name));
    return records.map((one) => (one.contract?.version === owed?.contract?.version ? (owed ?? one) : one));
  }

  /** Newest first. What was in force before the registry kept contracts has no record: it is told without one. */
  async #records(source: SourcePlan): Promise<ContractRecord[]> {
    const { store, definitions } = this.#options;
    const current = source.contract?.version ?? 0;
    // A source that was taken out and came back begins at 1 again: what is above is of the one before it.
    const records = (await store.contracts(source.name)).filter(({ contract }) => (contract?.version ?? 0) <= current);
    if (records[0]?.contract?.version === source.contract?.version) return records;
    const unrecorded = recordOf(source, definitions.generation, { acceptedBy: '', acceptedAtUs: 0n });
    return unrecorded === undefined ? records : [unrecorded, ...records];
  }

  #written() {
    const { written } = this.#options.definitions.current;
    if (written !== undefined) return written;
    throw new FreshetError('INVALID_REQUEST', 'no definitions are in force, so there is no contract', {
      remedy: 'apply definitions first: freshet apply',
    });
  }

  #sources(names: readonly string[] = []): SourcePlan[] {
    if (names.length > 0) return [...new Set(names)].map((name) => this.#source(name));
    return sourcesOf(this.#options.definitions.current.resolved);
  }

  #source(name: string): SourcePlan {
    const sources = sourcesOf(this.#options.definitions.current.resolved);
    const found = sources.find((source) => source.name === name);
    if (found !== undefined) return found;
    const known = sources.map((source) => source.name);
    const meant = closest(name, known);
    throw new FreshetError('INVALID_REQUEST', `no source "${name}" is in force`, {
      remedy: meant === undefined ? `the sources are ${known.slice(0, 20).join(', ')}` : `did you mean "${meant}"?`,
      place: name,
    });
  }
}

/**
 * A version that was accepted after the stream had shown its shape, with the position of that: rows from there on were held, and are
 * of this version once they are released. Those that come after the acceptance would tell a later one.
 */
function sightingOwed(records: readonly ContractRecord[], seen: SeenContract | undefined): ContractRecord | undefined {
  const { contract: shape, lsn, seenAtUs } = seen ?? {};
  if (shape === undefined || lsn === undefined || seenAtUs === undefined) return undefined;
  const found = records.find((one) => one.lsn === 0n && one.contract !== undefined && sameShape(one.contract, shape));
  return found && { ...found, lsn, seenAtUs };
}

function sameShape(a: Contract, b: Contract): boolean {
  return sameLayout(a, b) && changesBetween(a, b).length === 0;
}
