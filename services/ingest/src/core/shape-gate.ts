/**
 * The gate in the stream: whether rows of a relation, as the stream describes it, may be read under a contract, and whom it
 * hurts if they may not.
 *
 * Owns what the stream adds to the rules, which are those of the gate before a change (packages/contracts, docs/contracts.md):
 * a column that is gone, or that is read as another kind, holds rows whoever reads it, as there is nothing to read. And whoever
 * nobody names reads everything: a route without a view, a column that only tells rows apart. Keys are not judged here
 * (relation-identity.ts). What the stream does not tell, labels and nulls, is seen row by row (route.ts). Pure.
 */
import { type ChangeKind, changesBetween } from '@freshet/contracts/change.ts';
import { gateVerdict } from '@freshet/contracts/gate.ts';
import { type ChangeVerdict, judgeChanges } from '@freshet/contracts/judge.ts';
import { touchedText } from '@freshet/contracts/touched.ts';
import type { ColumnUse, Consumer, SourceUsage } from '@freshet/contracts/usage.ts';
import { ChangePolicy, type Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Relation } from './pgoutput/messages.ts';
import { isSameType, shownContract } from './shown-contract.ts';
import { sameType } from './types/type-table.ts';

/** How a relation stands to a contract. */
export interface ShapeFit {
  /** For each of the contract's columns, its index among the relation's; -1: it is gone. */
  readonly columns: readonly number[];
  /** What breaks and whom, one sentence a column. */
  readonly problems: readonly string[];
  /** What passes and is told, one sentence a change. */
  readonly notes: readonly string[];
  /** Whether every type is exactly the contract's. */
  readonly exact: boolean;
}

/** Who reads the rows of a contract. */
export interface Readers {
  /** The names of the columns that somebody needs; undefined: all. */
  readonly read?: ReadonlySet<string> | undefined;
  /** Whom their features, services and owners are; undefined: nobody tells. */
  readonly usage?: (() => SourceUsage) | undefined;
}

const OF_IDENTITY: ReadonlySet<ChangeKind> = new Set(['primary_key_changed', 'replica_identity_changed']);
const UNNAMED: Consumer = { view: '', features: [], services: [], owners: [] };

/** Judges the relation by the policy. */
export function fitShape(contract: Contract, relation: Relation, policy: ChangePolicy, readers: Readers): ShapeFit {
  const byName = new Map(relation.columns.map((column, index) => [column.name, { column, index }] as const));
  const columns = contract.columns.map(({ name }) => byName.get(name)?.index ?? -1);
  const exact = contract.columns.every((wanted) => {
    const found = byName.get(wanted.name);
    return found !== undefined && isSameType(wanted, found.column);
  });
  if (exact) return { columns, problems: [], notes: [], exact };
  const shown = shownContract(contract, relation);
  const changes = changesBetween(contract, shown).filter(({ kind }) => !OF_IDENTITY.has(kind));
  const judged = judgeChanges(contract.source, changes, usageOfAll(contract, readers));
  const unreadable = unreadableColumns(contract, shown);
  const problems: string[] = [];
  const notes: string[] = [];
  for (const one of judged.changes) {
    const verdict = gateVerdict({ ...judged, changes: [one] }, policy);
    if (verdict === 'hold' || unreadable.has(one.change.column)) problems.push(problemOf(one, policy));
    else if (verdict === 'pass_with_note') notes.push(sentenceOf(one));
  }
  return { columns, problems, notes, exact };
}

/** Columns of the contract of which rows of the shape have no value that could be taken for theirs. */
function unreadableColumns(contract: Contract, shown: Contract): Set<string> {
  const now = new Map(shown.columns.map(({ name, type }) => [name, type]));
  const isReadable = ({ name, type }: Contract['columns'][number]): boolean => {
    const found = now.get(name);
    return found !== undefined && type !== undefined && sameType(found, type);
  };
  return new Set(contract.columns.flatMap((column) => (isReadable(column) ? [] : [column.name])));
}

/** The usage with those whom nobody names: readers of rows by means of no view, and columns that tell rows apart. */
function usageOfAll({ source, columns }: Contract, { read, usage }: Readers): SourceUsage {
  const known = usage?.() ?? { source, columns: new Map<string, ColumnUse[]>(), readers: [], needIdentity: new Set() };
  const readers = known.readers.length > 0 ? known.readers : [UNNAMED];
  const all = new Map(known.columns);
  for (const { name } of columns) {
    if (all.has(name) || read?.has(name) === false) continue;
    all.set(
      name,
      readers.map((reader) => ({ ...reader, column: name, ways: [] })),
    );
  }
  return { ...known, columns: all, readers };
}

function problemOf(verdict: ChangeVerdict, policy: ChangePolicy): string {
  const isBroken = verdict.verdict === 'breaking' || verdict.consumers.length === 0;
  const strict = policy === ChangePolicy.STRICT && !isBroken ? '; the source is strict' : '';
  return `${sentenceOf(verdict)}${strict}`;
}

function sentenceOf({ sentence, consumers }: ChangeVerdict): string {
  return `${sentence.replace(/\.$/, '')}${touchedText(consumers)}`;
}
