/**
 * What events views that join tables have, by brute force over the records: the oracle of joins.
 *
 * Owns "joined(e) = the table's row after all of the table's records before max(offset(e), S)" (docs/values.md), and which
 * rows of an append or mutable source are live. Does not own values (oracle.ts). Imports nothing of the engine; a table's
 * rows at an offset are found by going through the records from the first, for each event anew.
 */
import { type Change, type LogRecord, Operation, type Sequence } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet, JoinPlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { encodeKey } from '@freshet/values/key.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { hex, type ViewTwin } from './history.ts';
import { isFed, isFolded, type OracleEvent, scalarOf } from './oracle.ts';

export interface JoinedEvents {
  /** Whether there is anything to compare: the tables were ready once, and no later generation's snapshot runs. */
  readonly whole: boolean;
  /** By entity key in hex, by offset. */
  readonly byKey: ReadonlyMap<string, readonly OracleEvent[]>;
}

interface Timed {
  readonly logTimeUs: number;
  readonly message: LogRecord;
}

/** The events of a view that the last definitions of the records name. */
export function joinedEvents(records: readonly Timed[], view: ViewPlan, twin: ViewTwin): JoinedEvents {
  const counting = countingRecords(records);
  const since = inForceSince(records, view);
  const tables = [...new Set(view.joins.map(({ route }) => route))];
  const ready = readyAt(records, tables, since);
  const generation = generationAt(records, view.route, records.length);
  const whole = ready !== undefined && endOf(records, view.route, generation, records.length) !== undefined;
  const byKey = new Map<string, OracleEvent[]>();
  if (!whole) return { whole, byKey };
  const definitions = lastDefinitions(records);
  const live = new Map<string, { key: string; event: OracleEvent | undefined }>();
  records.forEach(({ message: { kind }, logTimeUs }, offset) => {
    if (kind.case === 'truncate' && kind.value.route === view.route && counting.has(offset)) live.clear();
    if (isErased(kind, view.route)) {
      for (const [row, { key }] of live) if (key === hex(kind.value.entityKey)) live.delete(row);
    }
    if (kind.case !== 'change' || kind.value.route !== view.route || !counting.has(offset)) return;
    if (kind.value.generation !== generation) return;
    const change = kind.value;
    const key = hex(change.entityKey);
    const row = view.mode === SourceMode.MUTABLE ? `${key}/${hex(change.rowKey)}` : `${offset}`;
    // A new image is as new as its record.
    live.delete(row);
    if (change.operation === Operation.DELETE) return;
    const values = rowOf(definitions, change);
    for (const join of view.joins) {
      const at = Math.max(offset, ready);
      addJoined(values, { join, change, definitions }, tableAt(records, counting, join.route, at));
    }
    const event = eventOf(view, twin, values, { offset, logTimeUs: BigInt(logTimeUs), change });
    live.set(row, { key, event });
  });
  for (const { key, event } of live.values()) {
    if (event !== undefined) byKey.set(key, [...(byKey.get(key) ?? []), event]);
  }
  return { whole, byKey };
}

/** The offsets of records that count: of the newest generation begun, and beyond their lane's mark. */
function countingRecords(records: readonly Timed[]): ReadonlySet<number> {
  const counting = new Set<number>();
  const generations = new Map<number, number>();
  const marks = new Map<string, Sequence>();
  records.forEach(({ message: { kind } }, offset) => {
    if (kind.case === 'routeBegin') {
      if (kind.value.generation > (generations.get(kind.value.route) ?? 0)) {
        generations.set(kind.value.route, kind.value.generation);
      }
      return;
    }
    const place =
      kind.case === 'table'
        ? kind.value.change
        : kind.case === 'change' || kind.case === 'truncate'
          ? kind.value
          : undefined;
    if (place?.sequence === undefined || generations.get(place.route) !== place.generation) return;
    const lane = `${place.route}/${place.generation}/${place.lane}`;
    const mark = marks.get(lane);
    const { sequence } = place;
    const isNewer =
      mark === undefined || sequence.major > mark.major || (sequence.major === mark.major && sequence.part > mark.part);
    if (!isNewer) return;
    marks.set(lane, sequence);
    counting.add(offset);
  });
  return counting;
}

/** The offset of the definitions by which the view came into force for the last time. */
function inForceSince(records: readonly Timed[], view: ViewPlan): number {
  let since: number | undefined;
  records.forEach(({ message: { kind } }, offset) => {
    if (kind.case !== 'definitions') return;
    if (kind.value.views.some(({ viewId }) => hex(viewId) === hex(view.viewId))) since ??= offset;
    else since = undefined;
  });
  return must(since, 'the view is not in force');
}

function generationAt(records: readonly Timed[], route: number, before: number): number {
  let generation = 0;
  for (const { message } of records.slice(0, before)) {
    const { kind } = message;
    if (kind.case === 'routeBegin' && kind.value.route === route)
      generation = Math.max(generation, kind.value.generation);
  }
  return generation;
}

/** The offset at which a generation's snapshot ended first. */
function endOf(records: readonly Timed[], route: number, generation: number, before: number): number | undefined {
  const at = records.findIndex(
    ({ message: { kind } }) =>
      kind.case === 'snapshotEnd' && kind.value.route === route && kind.value.generation === generation,
  );
  return at < 0 || at >= before ? undefined : at;
}

/**
 * The S of docs/values.md, as the first offset behind it: the newest generation of each table had ended its snapshot for
 * the first time since the view is in force, the last of them there.
 */
function readyAt(records: readonly Timed[], tables: readonly number[], since: number): number | undefined {
  for (let position = since + 1; position <= records.length; position++) {
    const ends = tables.map((route) => {
      const generation = generationAt(records, route, position);
      return generation === 0 ? undefined : endOf(records, route, generation, position);
    });
    if (ends.every((end) => end !== undefined)) return Math.max(...ends.map((end) => must(end))) + 1;
  }
  return undefined;
}

/** The table's rows by key in hex, with all records before an offset: of the newest generation that was whole by then. */
function tableAt(
  records: readonly Timed[],
  counting: ReadonlySet<number>,
  route: number,
  before: number,
): ReadonlyMap<string, Change> {
  let generation = generationAt(records, route, before);
  while (generation > 0 && endOf(records, route, generation, before) === undefined) generation--;
  const rows = new Map<string, Change>();
  records.slice(0, before).forEach(({ message: { kind } }, offset) => {
    if (isErased(kind, route)) rows.delete(hex(kind.value.entityKey));
    if (!counting.has(offset)) return;
    if (kind.case === 'truncate' && kind.value.route === route && kind.value.generation === generation) rows.clear();
    const change = kind.case === 'table' ? kind.value.change : kind.case === 'change' ? kind.value : undefined;
    if (change?.route !== route || change.generation !== generation) return;
    if (change.operation === Operation.DELETE) rows.delete(hex(change.entityKey));
    else rows.set(hex(change.entityKey), change);
  });
  return rows;
}

/** Whether a route's rows under the key of the record are forgotten. */
function isErased(kind: LogRecord['kind'], route: number): kind is Extract<LogRecord['kind'], { case: 'erase' }> {
  return kind.case === 'erase' && kind.value.routes.includes(route);
}

function lastDefinitions(records: readonly Timed[]): DefinitionSet {
  const last = records.findLast(({ message }) => message.kind.case === 'definitions')?.message.kind;
  return must(last?.case === 'definitions' ? last.value : undefined);
}

function rowOf(definitions: DefinitionSet, change: Change): Map<string, Scalar> {
  const contract = must(definitions.routes.find(({ route }) => route === change.route)?.source?.contract);
  return new Map(contract.columns.map(({ name }, i) => [name, scalarOf(change.row[i])]));
}

function addJoined(
  values: Map<string, Scalar>,
  {
    join,
    change,
    definitions,
  }: { readonly join: JoinPlan; readonly change: Change; readonly definitions: DefinitionSet },
  table: ReadonlyMap<string, Change>,
): void {
  const on = join.on.map(({ column }) => values.get(column) ?? null);
  const kinds = join.on.map(({ key }) => must(key).kind);
  const key = !join.broadcast ? change.entityKey : on.includes(null) ? undefined : encodeKey(kinds, on);
  const found = key === undefined ? undefined : table.get(hex(key));
  const row = found === undefined ? undefined : rowOf(definitions, found);
  for (const { name, column } of join.columns) values.set(name, row?.get(must(column).name) ?? null);
}

function eventOf(
  view: ViewPlan,
  twin: ViewTwin,
  values: Map<string, Scalar>,
  { offset, logTimeUs, change }: { readonly offset: number; readonly logTimeUs: bigint; readonly change: Change },
): OracleEvent | undefined {
  const orNull = (evaluate: () => Scalar): Scalar => {
    try {
      return evaluate();
    } catch {
      return null;
    }
  };
  for (const { name, evaluate } of twin.derived)
    values.set(
      name,
      orNull(() => evaluate(values)),
    );
  const { where } = twin;
  if (where !== undefined && orNull(() => where(values)) !== true) return undefined;
  const event = { offset, logTimeUs, eventTimeUs: change.eventTimeUs, values };
  if (view.mode === SourceMode.MUTABLE && !isFed(view, event)) return undefined;
  return isFolded(view, event) ? event : undefined;
}
