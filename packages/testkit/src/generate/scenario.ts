/**
 * A recipe made real: definitions, entity keys, and the encoded records of one partition's log with their log times.
 *
 * Owns the order and content of records: log times never decrease, a route begins before its changes, the snapshot's
 * rows come before the live ones, sequences rise within a lane except where a delivery is repeated. The records are
 * encoded by protobuf-es, the keys by packages/values.
 */
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  type Change,
  ChangeSchema,
  LogRecordSchema,
  Operation,
  SequenceSchema,
} from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { EntityPlan, RoutePlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { encodeKey } from '@freshet/values/key.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { hex, type ViewTwin } from '../oracle/history.ts';
import { columnType, definitionSet, entityPlans, keyColumns, routePlan, viewPlan } from './plan-builder.ts';
import type { EventTimeRecipe, KeyRecipe, Recipe, RecordRecipe, RouteRecipe, RowRecipe } from './recipe.ts';
import { protoValue } from './values.ts';

/** One record of the log; its offset is its index. */
export interface ScenarioRecord {
  readonly logTimeUs: number;
  /** An encoded freshet.log.v1.LogRecord. */
  readonly record: Uint8Array;
}

/** An entity's key, as values in key order and encoded. */
export interface ScenarioKey {
  readonly values: readonly Scalar[];
  readonly bytes: Uint8Array;
}

export interface Scenario {
  readonly unitUs: number;
  /** The log time before the first record. */
  readonly baseUs: number;
  readonly records: readonly ScenarioRecord[];
  /** By hex view id, for OracleHistory. */
  readonly twins: ReadonlyMap<string, ViewTwin>;
  /** All views, in force or not. */
  readonly views: readonly ViewPlan[];
  /** The keys of each entity by its name; the last one is in no record (unless the recipe's keys are equal). */
  readonly keys: ReadonlyMap<string, readonly ScenarioKey[]>;
}

type RecordInit = MessageInitShape<typeof LogRecordSchema>;

interface RouteState {
  readonly plan: RoutePlan;
  readonly keys: readonly ScenarioKey[];
  readonly keyColumns: readonly (keyof KeyRecipe)[];
  /** 0: not begun. */
  generation: number;
  snapshotLeft: number;
  snapshotRows: number;
  lsn: bigint;
  minor: bigint;
  lastEventTimeUs: bigint | undefined;
  readonly sent: RecordInit[];
  readonly mode: RouteRecipe['mode'];
  /** The rows of a mutable source that are there, and some that were deleted, newest last. */
  rows: SourceRow[];
  deleted: SourceRow[];
  nextRow: number;
}

/** A row of a mutable source. */
interface SourceRow {
  readonly rowKey: Uint8Array;
  /** The record that told of it last, as the source has it now. */
  readonly change: Change;
}

/** A key that no recipe draws. */
const UNSEEN: KeyRecipe = {
  ki: 987_654_321n,
  ks: 'never seen',
  kb: true,
  ky: Uint8Array.of(9, 9, 9, 9, 9, 9, 9),
  kt: 123_456_789n,
  km: '98765.4321',
};

/** Makes the recipe real. The same recipe gives the same scenario. */
export function buildScenario(recipe: Recipe): Scenario {
  return new ScenarioBuilder(recipe).build();
}

class ScenarioBuilder {
  readonly #recipe: Recipe;
  readonly #entities: readonly EntityPlan[];
  readonly #routes: readonly RouteState[];
  readonly #views: readonly { plan: ViewPlan; twin: ViewTwin }[];
  readonly #records: ScenarioRecord[] = [];
  readonly #keys = new Map<string, readonly ScenarioKey[]>();
  #logTimeUs: number;
  #generation = 0;

  constructor(recipe: Recipe) {
    this.#recipe = recipe;
    this.#logTimeUs = recipe.baseUs;
    this.#entities = entityPlans(recipe);
    this.#entities.forEach((entity, index) => {
      const columns = must(recipe.entities[index]);
      this.#keys.set(
        entity.name,
        [...recipe.keys, UNSEEN].map((key) => keyOf(columns, key)),
      );
    });
    this.#views = recipe.views.map((_, index) => viewPlan(recipe, index));
    this.#routes = recipe.routes.map(({ entity, snapshot, mode }, route) => ({
      plan: routePlan(recipe, route),
      keys: must(this.#keys.get(must(this.#entities[entity]).name)),
      keyColumns: keyColumns(recipe, route),
      generation: 0,
      snapshotLeft: snapshot,
      snapshotRows: 0,
      lsn: 1000n,
      minor: 0n,
      lastEventTimeUs: undefined,
      sent: [],
      mode,
      rows: [],
      deleted: [],
      nextRow: 0,
    }));
  }

  build(): Scenario {
    const definitions = [...this.#recipe.definitions].sort((a, b) => a.before - b.before);
    this.#recipe.records.forEach((record, index) => {
      while (definitions[0] !== undefined && definitions[0].before <= index) {
        this.#define(must(definitions.shift()).views);
      }
      this.#logTimeUs += record.stepUnits * this.#recipe.unitUs + record.stepMicros;
      this.#add(record);
    });
    for (const { views } of definitions) this.#define(views);
    return {
      unitUs: this.#recipe.unitUs,
      baseUs: this.#recipe.baseUs,
      records: this.#records,
      twins: new Map(this.#views.map(({ plan, twin }) => [hex(plan.viewId), twin])),
      views: this.#views.map(({ plan }) => plan),
      keys: this.#keys,
    };
  }

  #define(mask: number): void {
    const views = this.#views.filter((_, index) => (mask >> index) % 2 === 1).map(({ plan }) => plan);
    const routes = this.#routes.map(({ plan }) => plan);
    this.#generation += 1;
    this.#push({ kind: { case: 'definitions', value: definitionSet(this.#generation, routes, views) } });
  }

  #add(record: RecordRecipe): void {
    const route = must(this.#routes[record.route % this.#routes.length]);
    switch (record.kind) {
      case 'change':
        this.#addChange(route, record);
        break;
      case 'redeliver':
        // A crash between append and acknowledgement: the last deliveries come once more, as they were.
        for (const sent of route.sent.slice(-1 - record.count)) this.#push(sent);
        break;
      case 'stray':
        this.#addStray(route, record);
        break;
      case 'restart':
        this.#restart(route, record.count);
        break;
      default:
        this.#push({ kind: { case: 'tick', value: {} } });
    }
  }

  #addChange(route: RouteState, record: RecordRecipe): void {
    this.#begin(route);
    const change = this.#changeOf(route, record);
    const records = route.mode === 'append' ? [changeRecord(change)] : this.#dml(route, record, change);
    for (const one of records) {
      route.sent.push(one);
      this.#push(one);
    }
    if (change.lane === 1 && --route.snapshotLeft === 0) this.#endSnapshot(route);
  }

  /** What ingest would write of a change of a mutable source; `change` is an insert of a new image so far. */
  #dml(route: RouteState, { dml, pick }: RecordRecipe, change: Change): RecordInit[] {
    const { rows, deleted } = route;
    const index = rows.length === 0 ? -1 : pick % rows.length;
    const row = rows[index];
    const isSnapshot = change.lane === 1;
    if (row === undefined || dml === 'insert' || isSnapshot) {
      change.rowKey = this.#newRowKey(route, pick);
      // Now and then a row is told of that is there already, as at the end of a snapshot; or one that was never told of is
      // changed.
      if (row !== undefined && pick === 9) change.rowKey = row.rowKey;
      else if (!isSnapshot && dml === 'update') change.operation = Operation.UPDATE;
      else if (!isSnapshot && dml === 'delete') return [changeRecord(deletionOf(change, change.rowKey))];
      rows.push({ rowKey: change.rowKey, change });
      return [changeRecord(change)];
    }
    change.rowKey = row.rowKey;
    switch (dml) {
      case 'truncate': {
        const { route: number, generation, lane, sequence } = change;
        rows.length = 0;
        const value = { route: number, generation, lane, ...(sequence === undefined ? {} : { sequence }) };
        return [{ kind: { case: 'truncate', value } }];
      }
      case 'delete':
        rows.splice(index, 1);
        deleted.push(row);
        return [changeRecord(deletionOf({ ...change, entityKey: row.change.entityKey }, row.rowKey))];
      case 'again': {
        const old = deleted.at(-1 - (pick % Math.max(1, deleted.length)));
        change.rowKey = old?.rowKey ?? this.#newRowKey(route, pick);
        break;
      }
      case 'move': {
        // The row moves to another entity: its new image first, then the end of the old one.
        const isRekeyed = pick % 3 === 0;
        if (isRekeyed) {
          change.oldRowKey = row.rowKey;
          change.rowKey = this.#newRowKey(route, pick);
        }
        change.operation = Operation.UPDATE;
        rows[index] = { rowKey: change.rowKey, change };
        if (hex(change.entityKey) === hex(row.change.entityKey)) return [changeRecord(change)];
        const end = deletionOf({ ...change, entityKey: row.change.entityKey, oldRowKey: new Uint8Array() }, row.rowKey);
        end.sequence = create(SequenceSchema, { ...must(change.sequence), part: 1 });
        return [changeRecord(change), changeRecord(end)];
      }
      case 'rekey':
        change.oldRowKey = row.rowKey;
        change.rowKey = this.#newRowKey(route, pick);
        break;
      case 'touch':
        // As it was, but for the record that tells it.
        change.row = row.change.row;
        if (row.change.eventTimeUs === undefined) delete change.eventTimeUs;
        else change.eventTimeUs = row.change.eventTimeUs;
        break;
      default:
    }
    change.entityKey = row.change.entityKey;
    if (dml === 'again') rows.push({ rowKey: change.rowKey, change });
    else {
      change.operation = Operation.UPDATE;
      rows[index] = { rowKey: change.rowKey, change };
    }
    return [changeRecord(change)];
  }

  #newRowKey(route: RouteState, pick: number): Uint8Array {
    // Rows without a key that are alike have one identity.
    const name = route.mode === 'alike' ? `alike ${pick % 3}` : `row ${route.nextRow++}`;
    return new TextEncoder().encode(name);
  }

  #begin(route: RouteState): void {
    if (route.generation === 0) this.#restart(route, route.snapshotLeft);
  }

  /** A new generation of the route: its lanes begin anew, and only its rows are live from here on. */
  #restart(route: RouteState, snapshot: number): void {
    route.generation += 1;
    route.rows = [];
    route.deleted = [];
    route.snapshotLeft = snapshot;
    route.snapshotRows = 0;
    this.#push({ kind: { case: 'routeBegin', value: { route: route.plan.route, generation: route.generation } } });
    if (snapshot === 0) this.#endSnapshot(route);
  }

  #endSnapshot(route: RouteState): void {
    this.#push({ kind: { case: 'snapshotEnd', value: { route: route.plan.route, generation: route.generation } } });
  }

  /** Records that must change nothing. */
  #addStray(route: RouteState, record: RecordRecipe): void {
    const { count } = record;
    this.#begin(route);
    const change = this.#changeOf(route, record);
    change.lane = 7;
    change.sequence = create(SequenceSchema, { major: BigInt(this.#records.length + 1) });
    if (count === 0) change.generation = 9;
    else change.route = 99;
    if (count <= 1) this.#push({ kind: { case: 'change', value: change } });
    else if (count === 2)
      // The same generation, or one before it, is not begun anew.
      this.#push({
        kind: {
          case: 'routeBegin',
          value: { route: route.plan.route, generation: Math.max(1, route.generation - (record.key % 2)) },
        },
      });
    else if (this.#generation > 0) {
      this.#push({ kind: { case: 'definitions', value: definitionSet(this.#generation, [], []) } });
    }
  }

  #changeOf(route: RouteState, record: RecordRecipe): Change {
    const keyRecipes = this.#recipe.keys;
    const index = record.key % keyRecipes.length;
    const eventTimeUs = this.#eventTimeOf(route, record.time);
    const values: Record<string, Scalar> = {
      ...must(keyRecipes[index]),
      ...this.#rowOf(record),
      at: eventTimeUs ?? null,
    };
    const snapshot = route.snapshotLeft > 0;
    if (record.stepUnits > 0 || record.stepMicros > 0) {
      route.lsn += 16n;
      route.minor = 0n;
    } else {
      route.minor += 1n;
    }
    return create(ChangeSchema, {
      route: route.plan.route,
      generation: route.generation,
      lane: snapshot ? 1 : 2,
      sequence: snapshot ? { major: BigInt(++route.snapshotRows) } : { major: route.lsn, minor: route.minor },
      operation: snapshot ? Operation.READ : Operation.INSERT,
      entityKey: must(route.keys[index]).bytes,
      contractVersion: 1,
      row: must(route.plan.source?.contract).columns.map(({ name }) =>
        protoValue(columnType(name), values[name] ?? null),
      ),
      ...(eventTimeUs === undefined ? {} : { eventTimeUs }),
      ...(record.count === 3 ? { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' } : {}),
      knownAtUs: BigInt(this.#logTimeUs),
    });
  }

  #rowOf({ row }: RecordRecipe): RowRecipe {
    if (!this.#recipe.ties) return row;
    const d = row.d === null ? null : Math.sign(row.d) * 0;
    const m = row.m === null ? null : (['1', '1.0', '1.00'][row.m.length % 3] ?? null);
    return { ...row, d, m };
  }

  #eventTimeOf(route: RouteState, { mode, units, micros }: EventTimeRecipe): bigint | undefined {
    if (mode === 'unknown') return undefined;
    const at = (shiftUnits: number, originUs = this.#logTimeUs): bigint =>
      BigInt(originUs + shiftUnits * this.#recipe.unitUs + micros);
    const eventTimeUs = {
      near: at(-(units % 8)),
      late: at(-units),
      future: at(units % 6),
      same: route.lastEventTimeUs ?? at(0),
      ancient: at(-units, 0),
    }[mode];
    route.lastEventTimeUs = eventTimeUs;
    return eventTimeUs;
  }

  #push(record: RecordInit): void {
    const encoded = toBinary(LogRecordSchema, create(LogRecordSchema, record));
    this.#records.push({ logTimeUs: this.#logTimeUs, record: encoded });
  }
}

function changeRecord(value: Change): RecordInit {
  return { kind: { case: 'change', value } };
}

/** The record of a row's end; what the change says of a new image does not count. */
function deletionOf(change: Change, rowKey: Uint8Array): Change {
  const { route, generation, lane, sequence, entityKey, contractVersion } = change;
  const place = sequence === undefined ? {} : { sequence };
  return create(ChangeSchema, {
    route,
    generation,
    lane,
    ...place,
    operation: Operation.DELETE,
    entityKey,
    contractVersion,
    rowKey,
  });
}

function keyOf(columns: readonly (keyof KeyRecipe)[], key: KeyRecipe): ScenarioKey {
  const values = columns.map((column) => key[column]);
  return {
    values,
    bytes: encodeKey(
      columns.map((column) => columnType(column).kind),
      values,
    ),
  };
}
