/**
 * A route made ready to run: from the text of a source's row to the log record under its entity key, to the record of a
 * broadcast table for every partition, or to quarantine.
 *
 * Owns the routing of one row: key, event time, values by the contract's order. Does not own the order of rows
 * (change-stream.ts, snapshot-rows.ts) or where entries go. Pure.
 * Invariants: I2 (an unchanged value is never taken for null or for anything else by whoever reads it), C1 in its first form (a row that
 * cannot be read under the contract reaches no fold).
 */
import { touchedText } from '@freshet/contracts/touched.ts';
import type { SourceUsage } from '@freshet/contracts/usage.ts';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { ChangePolicy, type HoldScope, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { PostgresTable, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { RECORD_BYTES_MAX } from '@freshet/log/frame.ts';
import { encodeChange, tableChange } from '@freshet/log/record-writer.ts';
import { encodeKey } from '@freshet/values/key.ts';
import { partitionOf } from '@freshet/values/partition.ts';
import { rowIdentity } from '@freshet/values/row-identity.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { EarlierDecisions } from './earlier-decisions.ts';
import type { Tuple, TupleValue } from './pgoutput/messages.ts';
import type { QuarantineEntry, QuarantineReason, RowPlace } from './quarantine.ts';
import { encodeRowKey, sameRowKey } from './row-key.ts';
import { RowRules } from './row-rules.ts';
import type { Readers } from './shape-gate.ts';
import { tableName } from './sql.ts';
import { parserOf, type TextParser } from './types/text-parsers.ts';
import { ValueRefused } from './types/value-refused.ts';
import { refusableColumns } from './unread-values.ts';

/** The snapshot's lane and the replication slot's. */
export const SNAPSHOT_LANE = 1;
export const SLOT_LANE = 2;

/** A route with the generation that it is in. */
export interface Route {
  readonly number: number;
  readonly generation: number;
  readonly table: PostgresTable;
  readonly mode: SourceMode;
  readonly source: string;
  readonly contract: Contract;
  readonly policy: ChangePolicy;
  /** What a row that breaks by itself holds; unspecified: only rows that break the contract hold anything, their table. */
  readonly hold: HoldScope;
  /** The names of the columns that somebody reads; undefined: all. */
  readonly read: ReadonlySet<string> | undefined;
  /** Whose features, services and owners they are, looked up when it is asked for; undefined: nobody tells. */
  readonly usage: (() => SourceUsage) | undefined;
  /** What its rows' values must be; undefined: no rules. */
  readonly rules: RowRules | undefined;
  readonly parsers: readonly TextParser[];
  /** The types of its columns in the table now, where the contract has others; undefined: as in the contract. */
  readonly typeOids: readonly number[] | undefined;
  readonly types: readonly ValueType[];
  /** The indexes of the key's columns among the contract's. */
  readonly keyColumns: readonly number[];
  readonly keyKinds: readonly Kind[];
  /** Whether its rows go to every partition: a table that views join, under its own key, without event times. */
  readonly broadcast: boolean;
  /** Mutable sources: the indexes, among the contract's, of the columns by which rows are told apart; else none. */
  readonly identityColumns: readonly number[];
  /** Whether these are a key. */
  readonly identityUnique: boolean;
  /** The names of the columns that must be right: in others a value may be left out (a hole). Undefined: all of them. */
  readonly needed: ReadonlySet<string> | undefined;
  /** The indexes of columns that nobody reads and that may have a value which is none to us (unread-values.ts). */
  readonly refusable: readonly number[];
  /** The index of the event time's column among the contract's; -1 when it is the commit's time. */
  readonly eventTimeColumn: number;
  readonly maxSkewUs: number;
  readonly partitions: number;
  /** What was decided of rows that may come again. */
  readonly decisions: EarlierDecisions;
}

/** One row as it came, with its columns in the contract's order. */
export interface SourceRow {
  readonly operation: Operation;
  readonly values: Tuple;
  /** An update's row as it was, as far as it was told; undefined when nothing was. */
  readonly old?: Tuple | undefined;
  /** The columns of which null stands for a value that was not sent; left out: none. */
  readonly unsent?: readonly number[] | undefined;
  readonly lane: number;
  readonly major: bigint;
  readonly minor: number;
  readonly part: number;
  /** Microseconds since the Unix epoch; undefined for a snapshot's row. */
  readonly committedUs: number | undefined;
  /** Ingest's clock, microseconds since the Unix epoch. */
  readonly nowUs: number;
}

export type Routed =
  | { readonly kind: 'record'; readonly partition: number; readonly record: Uint8Array }
  /** For each of the partitions. */
  | { readonly kind: 'broadcast'; readonly partitions: number; readonly record: Uint8Array }
  | { readonly kind: 'quarantine'; readonly entry: QuarantineEntry }
  /** It came before, and is in quarantine, or in the log: nothing is left to do. */
  | { readonly kind: 'known'; readonly isAside: boolean }
  /** A key column is null: the row belongs to no entity of this route. */
  | { readonly kind: 'unkeyed' };

/** Makes a route ready. Throws INVALID_DEFINITION when the plan does not fit itself, which plan should have refused. */
export function prepareRoute(
  plan: RoutePlan,
  generation: number,
  partitions: number,
  decisions: EarlierDecisions = EarlierDecisions.NONE,
  needed?: ReadonlySet<string>,
  readers: Readers & { readonly isEarlier?: boolean | undefined } = {},
): Route {
  const source = must(plan.source, 'a route without a source');
  const contract = must(source.contract, 'a source without a contract');
  const broadcast = plan.entity === undefined;
  assert(source.origin.case === 'postgres', 'a route of another origin than Postgres');
  const columnIndex = (name: string, what: string): number => {
    const index = contract.columns.findIndex((column) => column.name === name);
    if (index >= 0) return index;
    throw new FreshetError('INVALID_DEFINITION', `${what} ${name} is not a column of source ${source.name}`, {
      remedy: 'Plan and apply the definitions again: they were resolved against another contract.',
      place: `source ${source.name}`,
    });
  };
  const identity = source.mode === SourceMode.MUTABLE ? rowIdentity(contract) : undefined;
  const types = contract.columns.map((column) => must(column.type, 'a column without a type'));
  const keyColumns = plan.keyColumns.map((name) => columnIndex(name, 'the key column'));
  const rules = readers.isEarlier
    ? RowRules.compileKnown(source.rules, contract)
    : RowRules.compile(source.rules, contract);
  return {
    number: plan.route,
    generation,
    table: source.origin.value,
    mode: source.mode,
    source: source.name,
    contract,
    policy: source.policy === ChangePolicy.UNSPECIFIED ? ChangePolicy.EVOLVE : source.policy,
    hold: source.hold,
    read: readers.read,
    usage: readers.usage,
    rules,
    types,
    parsers: contract.columns.map((column, i) => parserOf(must(types[i]), column.sourceTypeOid)),
    typeOids: undefined,
    keyColumns,
    keyKinds: plan.entity?.key.map((column) => column.kind) ?? keyColumns.map((index) => must(types[index]).kind),
    broadcast,
    identityColumns: (identity?.columns ?? []).map((name) => columnIndex(name, 'the identity column')),
    identityUnique: identity?.unique ?? false,
    needed,
    refusable: refusableColumns({ contract, needed, types, rules }),
    // A table's rows are no events: none of them is ahead of its time.
    eventTimeColumn:
      broadcast || source.eventTimeColumn === '' ? -1 : columnIndex(source.eventTimeColumn, 'the event time column'),
    maxSkewUs: Number(source.maxSkewUs),
    partitions,
    decisions,
  };
}

/** The route for rows whose columns, in the contract's order, are of these Postgres types; undefined: as in the contract. */
export function withColumnTypes(route: Route, oids: readonly (number | undefined)[]): Route {
  const { columns } = route.contract;
  const typeOids = columns.map((column, i) => oids[i] ?? column.sourceTypeOid);
  const parsers = typeOids.map((oid, i) => parserOf(must(route.types[i]), oid));
  const isOther = columns.some(({ sourceTypeOid }, i) => typeOids[i] !== sourceTypeOid);
  return { ...route, parsers, typeOids: isOther ? typeOids : undefined };
}

/** Whether the route takes updates, deletes and truncations. */
export function isMutable(route: Route): boolean {
  return route.mode === SourceMode.MUTABLE;
}

/** The row as a record of the log under its entity's key, or as an entry of the quarantine, or as nobody's. */
export function routeRow(route: Route, row: SourceRow): Routed {
  if (!route.decisions.mayKnow(row)) return judgeRow(route, row);
  const decision = route.decisions.of(placeOf(route, row), tryPartitionOf(route, row.values));
  if (decision === 'aside') return { kind: 'known', isAside: true };
  if (decision === undefined) return judgeRow(route, row);
  // Sent again, as shards know what they have; asked nothing that may be asked otherwise now.
  const trusting = { ...route, rules: undefined, policy: ChangePolicy.NOTIFY, maxSkewUs: Number.POSITIVE_INFINITY };
  const routed = judgeRow(trusting, row);
  if (routed.kind !== 'quarantine') return routed;
  if (decision === 'in_log') return { kind: 'known', isAside: false };
  return { ...routed, entry: { ...routed.entry, late: true } };
}

function judgeRow(route: Route, row: SourceRow): Routed {
  try {
    const key = keyOf(route, row.values);
    if (key === undefined) return { kind: 'unkeyed' };
    const deletes = row.operation === Operation.DELETE;
    const values = deletes ? [] : valuesOf(route, row.values);
    if (!deletes) checkRules(route, row, values);
    const { rowKey, oldRowKey } = rowKeysOf(route, row);
    const change = encodeChange(
      {
        route: route.number,
        generation: route.generation,
        lane: row.lane,
        major: row.major,
        minor: row.minor,
        part: row.part,
        operation: row.operation,
        entityKey: key,
        contractVersion: route.contract.version,
        eventTimeUs: deletes ? row.committedUs : eventTimeOf(route, row, values),
        knownAtUs: row.committedUs,
        rowKey,
        oldRowKey,
      },
      values,
      route.types,
    );
    const record = route.broadcast ? tableChange(change) : change;
    if (record.length > RECORD_BYTES_MAX) {
      throw new Refused('too_large', `the record has ${record.length} bytes; the log takes ${RECORD_BYTES_MAX}`);
    }
    if (route.broadcast) return { kind: 'broadcast', partitions: route.partitions, record };
    return { kind: 'record', partition: partitionOf(key, route.partitions), record };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { kind: 'quarantine', entry: entryOf(route, row, error.reason, error.message) };
  }
}

/** The encoded entity key of a row; undefined when the row has none. */
export function tryKeyOf(route: Route, values: Tuple): Uint8Array | undefined {
  try {
    return keyOf(route, values);
  } catch (error) {
    if (error instanceof Refused) return undefined;
    throw error;
  }
}

/** The partition that the row's record goes to; undefined: none. A table's goes to all: one of them stands for them. */
function tryPartitionOf(route: Route, values: Tuple): number | undefined {
  if (route.broadcast) return 0;
  const key = tryKeyOf(route, values);
  return key && partitionOf(key, route.partitions);
}

/** Whether the update made another row of it, by the identity. */
export function changedIdentity(route: Route, values: Tuple, old: Tuple): boolean {
  const [before, after] = [tryRowKeyOf(route, old), tryRowKeyOf(route, values)];
  return before === undefined || after === undefined || !sameRowKey(before, after);
}

function rowKeysOf(
  route: Route,
  { operation, values, old }: SourceRow,
): { rowKey?: Uint8Array | undefined; oldRowKey?: Uint8Array | undefined } {
  if (!isMutable(route)) return {};
  const rowKey = rowKeyOf(route, values);
  if (operation !== Operation.UPDATE || old === undefined) return { rowKey };
  const before = rowKeyOf(route, old);
  return { rowKey, oldRowKey: sameRowKey(before, rowKey) ? undefined : before };
}

function tryRowKeyOf(route: Route, values: Tuple): Uint8Array | undefined {
  try {
    return rowKeyOf(route, values);
  } catch (error) {
    if (error instanceof Refused) return undefined;
    throw error;
  }
}

function rowKeyOf(route: Route, values: Tuple): Uint8Array {
  const texts = route.identityColumns.map((column) => {
    const text = values[column];
    if (text !== undefined) return text;
    throw new Refused('unchanged_value', `column ${columnName(route, column)} did not change and was not sent`);
  });
  return encodeRowKey(
    texts,
    route.identityColumns.map((column) => must(route.types[column])),
  );
}

function keyOf(route: Route, values: Tuple): Uint8Array | undefined {
  const key = route.keyColumns.map((column): Scalar => readValue(route, column, values[column]));
  if (key.includes(null)) return undefined;
  try {
    return encodeKey(route.keyKinds, key);
  } catch (error) {
    if (!isFreshetError(error, 'WRONG_KEY')) throw error;
    throw new Refused('bad_key', error.message);
  }
}

function valuesOf(route: Route, texts: Tuple): Scalar[] {
  const values: Scalar[] = new Array<Scalar>(route.parsers.length);
  for (let column = 0; column < values.length; column++) values[column] = readValue(route, column, texts[column]);
  return values;
}

function readValue(route: Route, column: number, text: TupleValue): Scalar {
  if (text !== undefined) checkPromise(route, column, text);
  if (text === null) return null;
  if (text === undefined) {
    throw new Refused('unchanged_value', `column ${columnName(route, column)} did not change and was not sent`);
  }
  let value: Scalar;
  try {
    value = must(route.parsers[column])(text);
  } catch (error) {
    if (!(error instanceof ValueRefused)) throw error;
    throw new Refused('bad_value', `column ${columnName(route, column)}: ${error.message}`);
  }
  // A list's labels are known only now.
  if (Array.isArray(value)) for (const element of value) checkLabel(route, column, element);
  return value;
}

/** What the stream does not tell of a type, and the contract promises of every value. */
function checkPromise(route: Route, index: number, text: string | null): void {
  const column = route.contract.columns[index];
  if (column === undefined || !isPromised(route, column.name)) return;
  if (text === null) {
    // A null event time has a reason of its own, and without a key a row is nobody's.
    if (column.nullable || index === route.eventTimeColumn || route.keyColumns.includes(index)) return;
    throw new Refused(
      'null_value',
      `column ${column.name} is null, and the contract says that it never is${touchedBy(route, column.name)}`,
    );
  }
  if (column.type?.kind !== Kind.LIST) checkLabel(route, index, text);
}

/** Refuses a label that the contract's enum, or list of them, does not have. */
function checkLabel(route: Route, index: number, label: Scalar): void {
  const column = route.contract.columns[index];
  if (column === undefined || column.enumLabels.length === 0 || typeof label !== 'string') return;
  if (column.enumLabels.includes(label) || !isPromised(route, column.name)) return;
  throw new Refused(
    'unknown_label',
    `column ${column.name} has a label that the contract does not know: ${label.slice(0, 63)}${touchedBy(route, column.name)}`,
  );
}

/** Whether what the contract says of the column's values is asked of rows. */
function isPromised(route: Route, column: string): boolean {
  if (route.policy === ChangePolicy.NOTIFY) return false;
  // Of what nobody reads, null may stand for a value that was not sent.
  return route.read?.has(column) !== false && route.needed?.has(column) !== false;
}

/** Asked last of what is said of values, so that a null rate counts rows that can be read. */
function checkRules({ rules, usage }: Route, { lane, unsent }: SourceRow, values: readonly Scalar[]): void {
  const broken = rules?.check(values, lane > SLOT_LANE, unsent);
  // Whatever columns a rule reads, the row that breaks it is missing to everybody.
  if (broken !== undefined) throw new Refused('rule', `${broken}${touchedText(usage?.().readers ?? [])}`);
}

function touchedBy({ usage }: Route, column: string): string {
  return touchedText(usage?.().columns.get(column) ?? []);
}

function eventTimeOf(route: Route, row: SourceRow, values: readonly Scalar[]): number | undefined {
  // The commit's time is the database's clock, which is compared with ours when the connection is made.
  if (route.eventTimeColumn < 0) return row.committedUs;
  const value = values[route.eventTimeColumn];
  if (typeof value !== 'bigint') {
    throw new Refused('null_event_time', `event time column ${columnName(route, route.eventTimeColumn)} is null`);
  }
  const us = Number(value);
  if (us - row.nowUs > route.maxSkewUs) {
    const seconds = ((us - row.nowUs) / 1e6).toFixed(1);
    throw new Refused('event_time_ahead', `the event time is ${seconds} s ahead of the clock`);
  }
  if (!Number.isSafeInteger(us)) {
    throw new Refused('event_time_out_of_range', 'the event time is too far from the present');
  }
  return us;
}

function columnName(route: Route, column: number): string {
  return route.contract.columns[column]?.name ?? String(column);
}

function entryOf(route: Route, row: SourceRow, reason: QuarantineReason, detail: string): QuarantineEntry {
  const values: Record<string, string | null> = {};
  row.values.forEach((value, column) => {
    if (value !== undefined) values[columnName(route, column)] = value;
  });
  return {
    ...placeOf(route, row),
    source: route.source,
    table: `${route.table.database}/${tableName(route.table.schema, route.table.table)}`,
    operation: row.operation,
    reason,
    detail,
    contractVersion: route.contract.version,
    atUs: row.nowUs,
    committedUs: row.committedUs ?? null,
    values,
    ...(route.typeOids === undefined ? {} : { typeOids: route.typeOids }),
  };
}

function placeOf(route: Route, { lane, major, minor, part }: SourceRow): RowPlace {
  return { route: route.number, generation: route.generation, lane, major, minor, part };
}

class Refused extends Error {
  override readonly name = 'Refused';
  readonly reason: QuarantineReason;

  constructor(reason: QuarantineReason, message: string) {
    super(message);
    this.reason = reason;
  }
}
