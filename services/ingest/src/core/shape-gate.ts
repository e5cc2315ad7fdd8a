/**
 * The gate in the stream: whether rows of a relation, as the stream describes it, may be read under a contract, and whom it
 * hurts if they may not.
 *
 * Owns what the stream adds: whoever nobody names reads everything (a route without a view, a column that only tells rows
 * apart), and a column of which rows of the shape have nothing that could be read, which passes only where nobody reads it: it
 * has no value then. The rules are those of the gate before a change (packages/contracts, docs/contracts.md). Keys are not
 * judged here (relation-identity.ts), nor what values a table has (table-fill.ts). What the stream does not tell, labels and nulls, is seen row by row (route.ts). Pure.
 */
import { type ChangeKind, changesBetween } from '@freshet/contracts/change.ts';
import { gateVerdict } from '@freshet/contracts/gate.ts';
import { type ChangeVerdict, judgeChanges } from '@freshet/contracts/judge.ts';
import { touchedText } from '@freshet/contracts/touched.ts';
import type { ColumnUse, Consumer, SourceUsage } from '@freshet/contracts/usage.ts';
import { ChangePolicy, type Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Relation } from './pgoutput/messages.ts';
import { isSameType, shownContract } from './shown-contract.ts';
import { type ColumnValues, replacedOf, unaccepted, withValuesSince } from './table-fill.ts';
import { sameType } from './types/type-table.ts';

/** How a relation stands to a contract. */
export interface ShapeFit {
  /** For each of the contract's columns, its index among the relation's; -1: rows of the relation have nothing to be read as it. */
  readonly columns: readonly number[];
  /** What breaks and whom, one sentence a column. */
  readonly problems: readonly string[];
  /** Whether all that breaks is values that were computed anew: the shape is the contract's, or passes for it. */
  readonly isOfValues: boolean;
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

/**
 * Judges the relation by the policy. `values`: columns whose values were computed anew, which the contract in force does not know,
 * and those that were replaced: the stream shows nothing of it.
 */
export function fitShape(
  contract: Contract,
  relation: Relation,
  policy: ChangePolicy,
  readers: Readers,
  values: readonly ColumnValues[] = [],
): ShapeFit {
  const others = movedColumns(contract, relation);
  for (const name of replacedOf(contract, values)) others.add(name);
  const byName = new Map(
    relation.columns.flatMap((column, index) =>
      others.has(column.name) ? [] : [[column.name, { column, index }] as const],
    ),
  );
  const found = contract.columns.map(({ name }) => byName.get(name)?.index ?? -1);
  const isExactType = contract.columns.every((wanted) => {
    const now = byName.get(wanted.name);
    return now !== undefined && isSameType(wanted, now.column);
  });
  const exact = isExactType && unaccepted(contract, values).length === 0;
  if (exact) return { columns: found, problems: [], isOfValues: false, notes: [], exact };
  const shown = shownContract(withValuesSince(contract, values), relation);
  shown.columns = shown.columns.filter(({ name }) => !others.has(name));
  const changes = changesBetween(contract, shown).filter(({ kind }) => !OF_IDENTITY.has(kind));
  const judged = judgeChanges(contract.source, changes, usageOfAll(contract, readers));
  const unreadable = unreadableColumns(contract, shown);
  const columns = found.map((index, i) => (unreadable.has(contract.columns[i]?.name ?? '') ? -1 : index));
  const problems: string[] = [];
  const notes: string[] = [];
  let isOfValues = true;
  for (const one of judged.changes) {
    const verdict = gateVerdict({ ...judged, changes: [one] }, policy);
    if (verdict === 'hold') {
      problems.push(problemOf(one, policy));
      isOfValues &&= one.change.kind === 'values_rewritten';
    } else if (verdict === 'pass_with_note') notes.push(sentenceOf(one));
  }
  return { columns, problems, isOfValues: isOfValues && problems.length > 0, notes, exact };
}

/**
 * Columns of the relation that have a contract's name and are another column, as their places tell: Postgres puts a column that
 * is new behind all, so what was there is never further back than it was, nor behind what was behind it. A last column that is
 * dropped and made anew stands where it stood: that only the catalog tells (table-fill.ts).
 */
function movedColumns(contract: Contract, { columns }: Relation): Set<string> {
  const others = new Set<string>();
  if (!contract.columns.every(({ columnNumber }, i, all) => columnNumber > (all[i - 1]?.columnNumber ?? 0)))
    return others;
  const places = new Map(contract.columns.map(({ name }, place) => [name, place]));
  let furthest = -1;
  columns.forEach(({ name }, index) => {
    const place = places.get(name);
    if (place === undefined) return;
    if (index > place || place < furthest) others.add(name);
    else furthest = place;
  });
  return others;
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
  const strict = policy === ChangePolicy.STRICT && verdict.verdict !== 'breaking' ? '; the source is strict' : '';
  return `${sentenceOf(verdict)}${strict}`;
}

function sentenceOf({ sentence, consumers }: ChangeVerdict): string {
  return `${sentence.replace(/\.$/, '')}${touchedText(consumers)}`;
}
