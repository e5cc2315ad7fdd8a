/**
 * What became of a source's contract, for those who read it by definitions, and what its policy makes of that. Owns what an
 * apply refuses without being told to. Does not own the rules (@freshet/contracts). Pure.
 *
 * Invariant: who reads is asked of the definitions that would be in force, so that whoever adapts his definitions to the
 * change, or drops what it hurts, needs to accept nothing.
 */
import { create } from '@bufbuild/protobuf';
import { type Change, type ChangeHints, changesBetween } from '@freshet/contracts/change.ts';
import { type GateVerdict, gateVerdict } from '@freshet/contracts/gate.ts';
import { type Judgement, judgeChanges } from '@freshet/contracts/judge.ts';
import { touchedText } from '@freshet/contracts/touched.ts';
import { usageOf } from '@freshet/contracts/usage.ts';
import { previousContracts } from '@freshet/definitions/resolve/contract-version.ts';
import type { GivenChange } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { type ChangePolicy, type Contract, ContractSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type DefinitionSet, DefinitionSetSchema, type SourcePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { sourcesOf } from './contract-records.ts';

/** A source's change with what its policy makes of it. */
export interface PolicyJudgement extends Judgement {
  readonly version: number;
  readonly policy: ChangePolicy;
  readonly gate: GateVerdict;
}

/** A change that is judged: the contract after it, and what is known beside. */
export interface JudgedChange {
  readonly after: Contract;
  readonly hints?: ChangeHints | undefined;
  /** What happens to the table as a whole. */
  readonly ofTable?: readonly Change[] | undefined;
}

/** A contract that is given for the source, with what is known beside it. */
export function givenChange({ origin }: SourcePlan, after: Contract, known: GivenChange | undefined): JudgedChange {
  if (known === undefined) return { after };
  const { renamesKnown, renamed, rewritten, tableRenamedTo, tableDropped } = known;
  const table = { column: '', before: origin.value?.table ?? '', readable: false } as const;
  const ofTable: Change[] = [];
  if (tableDropped) ofTable.push({ ...table, kind: 'table_dropped', after: '' });
  else if (tableRenamedTo !== '') ofTable.push({ ...table, kind: 'table_renamed', after: tableRenamedTo });
  const hints = {
    ...(renamesKnown && { renamed: new Map(Object.entries(renamed)) }),
    rewritten: new Set(rewritten),
  };
  return { after, hints, ofTable };
}

/** `source` has the contract before the change, `readers` who reads it. */
export function judgeSource(
  { name, contract, policy }: SourcePlan,
  { after, hints = {}, ofTable = [] }: JudgedChange,
  readers: DefinitionSet | undefined,
): PolicyJudgement {
  const before = contract ?? create(ContractSchema, { source: name });
  const usage = usageOf(readers ?? create(DefinitionSetSchema), name);
  const judgement = judgeChanges(name, [...changesBetween(before, after, hints), ...ofTable], usage);
  return { ...judgement, version: before.version, policy, gate: gateVerdict(judgement, policy) };
}

/**
 * What the tables became since the contracts in force, for those who read them by `next`, under its policies; by source, those
 * that changed. A table keeps its contract under another source's name; a source of another table has another contract.
 */
export function judgeApply(previous: DefinitionSet | undefined, next: DefinitionSet): PolicyJudgement[] {
  return sourcesOf(next).flatMap((source) => {
    const [was] = previousContracts(source, previous);
    if (was === undefined || source.contract === undefined || was.version === source.contract.version) return [];
    const judgement = judgeSource({ ...source, contract: was }, { after: source.contract }, next);
    return judgement.changes.length === 0 ? [] : [judgement];
  });
}

/** Throws CONTRACT_NOT_ACCEPTED with each source whose rows its policy holds, and whom it hurts. */
export function refuseBroken(judgements: readonly PolicyJudgement[]): void {
  const [first, ...also] = judgements.filter(({ gate }) => gate === 'hold').map(errorOf);
  if (first !== undefined)
    throw new FreshetError(first.code, first.message, { remedy: first.remedy, place: first.place, also });
}

function errorOf({ source, changes }: PolicyJudgement): FreshetError {
  const hurts = changes.filter(({ consumers }) => consumers.length > 0);
  const sentences = hurts.map(({ sentence }) => sentence.replace(/\.$/, '')).join('; ');
  const whom = touchedText(hurts.flatMap(({ consumers }) => consumers));
  return new FreshetError(
    'CONTRACT_NOT_ACCEPTED',
    `applying would accept another contract of source ${source}: ${sentences}${whom}`,
    {
      remedy:
        'if that is right, apply with --accept-contracts, or accept the tables alone with freshet contract accept; else ' +
        'change the table back, or adapt the definitions to it',
      place: `source ${source}`,
    },
  );
}
