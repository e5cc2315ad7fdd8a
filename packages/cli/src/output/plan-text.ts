/**
 * Plans for people and for programs. Owns how changes, details, costs and columns are shown; what they are is the
 * registry's.
 */
import { toJson } from '@bufbuild/protobuf';
import { ContractGate, ContractJudgementSchema } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import {
  type BuildCost,
  BuildWay,
  type ChangeDetail,
  ChangeKind,
  type ColumnUse,
  type PlanDefinitionsResponse,
  type PlannedChange,
} from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { judgementText } from './judgement-text.ts';
import { type Colour, paint, type Terminal } from './terminal.ts';
import { countText } from './values.ts';

const KINDS: Readonly<Record<number, { readonly sign: string; readonly colour: Colour; readonly name: string }>> = {
  [ChangeKind.ADDED]: { sign: '+', colour: 'green', name: 'added' },
  [ChangeKind.CHANGED]: { sign: '~', colour: 'yellow', name: 'changed' },
  [ChangeKind.DROPPED]: { sign: '-', colour: 'red', name: 'dropped' },
};
const UNKNOWN = { sign: '?', colour: 'dim', name: 'unknown' } as const;
const WAYS: Readonly<Record<number, string>> = {
  [BuildWay.KEEPS]: 'keeps_state',
  [BuildWay.FOLDS_LOG]: 'folds_log',
  [BuildWay.READS_TABLE]: 'reads_table',
};
/** More than so many details, features or columns are counted, not shown; --json has them all. */
const SHOWN_MAX = 12;

type Colours = Pick<Terminal, 'colours'>;

/** The plan for people: each change with what exactly is another, what it means, what it costs and whom it touches. */
export function planText(terminal: Colours, planned: PlanDefinitionsResponse): string {
  const lines = planned.changes.flatMap((change) => changeLines(terminal, change));
  lines.push(...columnLines(terminal, planned.columnsAdded, 'newly reads', 'green', '+'));
  lines.push(...columnLines(terminal, planned.columnsDropped, 'no longer reads', 'red', '-'));
  for (const note of planned.notes) lines.push(`${paint(terminal, 'cyan', 'note')} ${note}`);
  for (const judgement of planned.contracts) {
    const text = judgementText(terminal, judgement).trimEnd();
    if (text !== '') lines.push(text);
    if (judgement.gate === ContractGate.HOLD)
      lines.push(
        `${paint(terminal, 'red', 'refused')} by the policy of source ${judgement.source}: needs --accept-contracts`,
      );
  }
  if (planned.changes.length === 0) lines.push('Nothing changes.');
  else
    lines.push(
      '',
      `${countsText(planned.changes)}; generation ${planned.resolved?.generation ?? 0n} would have ${setText(planned.resolved)}.`,
    );
  return `${lines.join('\n')}\n`;
}

/** One change, with its details below it. */
export function changeLines(terminal: Colours, change: PlannedChange): string[] {
  const { sign, colour } = KINDS[change.kind] ?? UNKNOWN;
  const lines = [paint(terminal, colour, `${sign} ${change.subject}`)];
  if (change.effect !== '') lines.push(`    ${change.effect}`);
  for (const detail of change.details.slice(0, SHOWN_MAX)) lines.push(`    ${detailText(terminal, detail)}`);
  if (change.details.length > SHOWN_MAX) lines.push(`    … and ${change.details.length - SHOWN_MAX} more`);
  if (change.cost !== undefined) lines.push(paint(terminal, 'dim', `    cost: ${costText(change.cost)}`));
  if (change.services.length > 0) lines.push(paint(terminal, 'dim', `    services: ${some(change.services)}`));
  if (change.kind === ChangeKind.CHANGED && change.features.length > 0)
    lines.push(paint(terminal, 'dim', `    values of: ${some(change.features)}`));
  return lines;
}

function detailText(terminal: Colours, { kind, part, name, before, after }: ChangeDetail): string {
  const { sign, colour } = KINDS[kind] ?? UNKNOWN;
  const what = name === '' ? part : `${part} ${name}`;
  const arrow = kind === ChangeKind.CHANGED ? `${before} → ${after}` : kind === ChangeKind.ADDED ? after : before;
  return `${paint(terminal, colour, sign)} ${what}${arrow === '' || arrow === name ? '' : `: ${arrow}`}`;
}

/** "reads 5,000 rows (estimate); 1.2 kB a key when its windows are full, 41 B a live row" */
export function costText(cost: BuildCost): string {
  if (cost.way === BuildWay.KEEPS) return 'none, the state is there';
  const reads =
    cost.way === BuildWay.FOLDS_LOG
      ? 'folds what the log has, the table is not read'
      : cost.rows === undefined
        ? 'reads the table anew; the database has no estimate of its rows'
        : `reads the table anew, about ${countText(cost.rows)} rows`;
  const perRow = cost.rowBytes === 0n ? '' : ` and about ${bytesText(cost.rowBytes)} a live row`;
  return `${reads}; state of about ${bytesText(cost.keyBytes)} a key with full windows${perRow}`;
}

function bytesText(bytes: bigint): string {
  return bytes < 10_000n ? `${bytes} B` : `${(Number(bytes) / 1000).toFixed(1)} kB`;
}

function columnLines(
  terminal: Colours,
  columns: readonly ColumnUse[],
  verb: string,
  colour: Colour,
  sign: string,
): string[] {
  const lines = [...Map.groupBy(columns, ({ table }) => table)].map(
    ([table, uses]) => `${paint(terminal, colour, sign)} ${verb} ${table}: ${some(uses.map(({ column }) => column))}`,
  );
  if (lines.length <= SHOWN_MAX) return lines;
  return [...lines.slice(0, SHOWN_MAX), `… and ${lines.length - SHOWN_MAX} more tables`];
}

function some(names: readonly string[]): string {
  const more = names.length - SHOWN_MAX;
  return `${names.slice(0, SHOWN_MAX).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** "1 added, 2 changed" */
export function countsText(changes: readonly PlannedChange[]): string {
  const counts = [ChangeKind.ADDED, ChangeKind.CHANGED, ChangeKind.DROPPED].flatMap((kind) => {
    const count = changes.filter((change) => change.kind === kind).length;
    return count === 0 ? [] : [`${count} ${KINDS[kind]?.name ?? ''}`];
  });
  return counts.join(', ');
}

/** "3 views, 12 features, 1 service" */
export function setText(set: DefinitionSet | undefined): string {
  const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
  const features = set?.views.reduce((sum, view) => sum + view.features.length, 0) ?? 0;
  return [
    plural(set?.views.length ?? 0, 'view'),
    plural(features, 'feature'),
    plural(set?.services.length ?? 0, 'service'),
  ].join(', ');
}

export function planJson(planned: PlanDefinitionsResponse): Record<string, unknown> {
  return {
    planHash: Buffer.from(planned.planHash).toString('hex'),
    generation: (planned.resolved?.generation ?? 0n).toString(),
    changes: planned.changes.map(changeJson),
    columns: { added: planned.columnsAdded.map(columnJson), dropped: planned.columnsDropped.map(columnJson) },
    notes: planned.notes,
    contracts: planned.contracts.map((judgement) => toJson(ContractJudgementSchema, judgement)),
  };
}

export function changeJson(change: PlannedChange): Record<string, unknown> {
  const { kind, subject, effect, services, details, features, cost } = change;
  return {
    kind: KINDS[kind]?.name ?? UNKNOWN.name,
    subject,
    effect,
    services,
    features,
    details: details.map(({ kind: of, part, name, before, after }) => ({
      kind: KINDS[of]?.name ?? UNKNOWN.name,
      part,
      ...(name && { name }),
      ...(before && { before }),
      ...(after && { after }),
    })),
    ...(cost && {
      cost: {
        way: WAYS[cost.way] ?? 'unknown',
        rows: cost.rows === undefined ? null : cost.rows.toString(),
        keyBytes: Number(cost.keyBytes),
        rowBytes: Number(cost.rowBytes),
        servedBytesMax: Number(cost.servedBytesMax),
      },
    }),
  };
}

function columnJson({ source, table, column, views }: ColumnUse): Record<string, unknown> {
  return { source, table, column, views };
}
