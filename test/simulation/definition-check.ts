/**
 * Whether definitions change without disturbing anybody: of a replica, that each service it offers is, whole, what one
 * set of definitions says it is, never an older one than before, and never away once it was there; of a fold, that
 * views which stay keep their rows to the byte.
 *
 * Looks at the catalogue, which is what a call of GetFeatures is answered from: it is taken once per call.
 */

import { decodeRow } from '@freshet/engine/rows/row-codec.ts';
import { rowLayout, valuesAt } from '@freshet/engine/rows/row-reader.ts';
import type { ShardFold } from '@freshet/engine/shard-fold.ts';
import type { DefinitionSet, ServicePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { toHex } from '@freshet/kit/hex.ts';
import type { Catalog, ServedService } from '@freshet/replica/catalog.ts';
import { fromLatin1, toLatin1 } from '@freshet/replica/latin1.ts';
import type { Replica } from '@freshet/replica/replica.ts';
import { rowKeyOfText } from '@freshet/replica/row-key.ts';
import { int64KeyString } from '@freshet/values/key.ts';
import { partitionOfKeyString } from '@freshet/values/partition.ts';
import { expectedOf, type OrderRow, type ShopRow } from './drawn-definitions.ts';

/** What one replica's process offered, while it lives. */
export class DefinitionCheck {
  /** The generation by which each service was last served; it is forgotten when the newest definitions drop it. */
  readonly #served = new Map<string, bigint>();
  #catalog: Catalog | undefined;
  #newest: DefinitionSet | undefined;
  /** How often a service was seen to go over to newer definitions. */
  switches = 0;
  /** How often a service was seen that waits for its views, served by older definitions. */
  waits = 0;

  /**
   * What is wrong, in words; undefined: nothing. `sets`: everything that was ever applied, by generation. `lostRows`: the
   * disk damaged rows of this replica. Those of a view that newer definitions dropped nobody can send again, so that a
   * service which waits for newer views may be away until these are whole.
   */
  check(replica: Replica, sets: ReadonlyMap<bigint, DefinitionSet>, lostRows: boolean): string | undefined {
    const { catalog, definitions: newest } = replica;
    if (newest === undefined || (catalog === this.#catalog && newest === this.#newest)) return undefined;
    this.#catalog = catalog;
    this.#newest = newest;
    const inForce = new Set(newest.services.map(({ name }) => name));
    for (const name of this.#served.keys()) {
      if (!inForce.has(name)) this.#served.delete(name);
      else if (!catalog.services.has(name) && !lostRows) return `service ${name} was served and is away`;
    }
    for (const service of catalog.services.values()) {
      const { name, generation } = service;
      if (!inForce.has(name)) return `service ${name} is served, but the newest definitions do not have it`;
      const set = sets.get(generation);
      const plan = set?.services.find((candidate) => candidate.name === name);
      if (set === undefined || plan === undefined)
        return `service ${name} is of generation ${generation}, which has none`;
      const wrong = mixed(service, plan, set);
      if (wrong !== undefined) return `service ${name} of generation ${generation}: ${wrong}`;
      const before = this.#served.get(name);
      if (before !== undefined && generation < before)
        return `service ${name} went from ${before} back to ${generation}`;
      if (before !== undefined && generation > before) this.switches += 1;
      if (generation < newest.generation) this.waits += 1;
      this.#served.set(name, generation);
    }
    return undefined;
  }
}

/** Whether an output is of other definitions than the service. */
function mixed(service: ServedService, plan: ServicePlan, set: DefinitionSet): string | undefined {
  if (service.outputs.length !== plan.features.length)
    return `it has ${service.outputs.length} outputs, not ${plan.features.length}`;
  for (const [index, { output, viewId, feature }] of plan.features.entries()) {
    const served = service.outputs[index];
    const id = toHex(viewId);
    if (served?.name !== output || served.feature !== feature)
      return `output ${index} is ${served?.name}, not ${output}`;
    if (toHex(served.view.plan.viewId) !== id) return `output ${output} is of another view`;
    if (served.view.name !== set.views.find((view) => toHex(view.viewId) === id)?.name)
      return `output ${output} is of a view by another name`;
    for (const table of served.view.tables)
      if (table.viewId !== id) return `output ${output} reads another view's rows`;
  }
  return undefined;
}

/** The rows of all views that can be followed, by view; for disturbed(). */
export type RowsBefore = ReadonlyMap<string, ReadonlyMap<string, string>>;

const DEFINITIONS_TAG = (4 << 3) | 2;

/** The rows of a fold that is about to fold a record, if that is a change of definitions. */
export function rowsBefore(fold: ShardFold, record: Uint8Array): RowsBefore | undefined {
  if (record[0] !== DEFINITIONS_TAG) return undefined;
  return new Map(fold.completeViews().map((id) => [id, rowsOf(fold, id)]));
}

function rowsOf(fold: ShardFold, viewId: string): Map<string, string> {
  const rows = new Map<string, string>();
  for (const key of fold.keys(viewId)) {
    const row = fold.row(viewId, key);
    if (row !== undefined) rows.set(key, `${row.version} ${toLatin1(row.bytes)}`);
  }
  return rows;
}

/** What the change of definitions did to views that stay in force, in words; undefined: nothing. */
export function disturbed(fold: ShardFold, before: RowsBefore): string | undefined {
  const inForce = new Set(fold.definitions?.views.map(({ viewId }) => toHex(viewId)));
  for (const [viewId, rows] of before) {
    if (!inForce.has(viewId)) continue;
    if (!fold.completeViews().includes(viewId)) return `R3: view ${viewId} stays in force and is complete no more`;
    const after = rowsOf(fold, viewId);
    const isSame = after.size === rows.size && [...rows].every(([key, row]) => after.get(key) === row);
    if (!isSame) return `F2: rows of view ${viewId} changed with definitions that keep it`;
  }
  return undefined;
}

/** Which feature of a drawn set of definitions is not what the database's rows say, in words; undefined: none is. */
export function unsettledDefinitions(
  { catalog }: Replica,
  number: number,
  { rows, orders }: { readonly rows: readonly ShopRow[]; readonly orders: readonly OrderRow[] },
  partitions: number,
): string | undefined {
  for (const [user, values] of expectedOf(number, rows, orders)) {
    const key = int64KeyString(BigInt(user));
    for (const [name, expected] of values) {
      const [viewName, featureName] = name.split(':') as [string, string];
      const view = catalog.views.get(viewName);
      if (view === undefined) return `view ${viewName} is not served`;
      const feature = view.plan.features.findIndex((candidate) => candidate.name === featureName);
      const row = view.tables[partitionOfKeyString(key, partitions)]?.rows.get(rowKeyOfText(key));
      const isThere = row !== undefined && row.bytes !== '';
      const answer = isThere ? valuesAt(decodeRow(fromLatin1(row.bytes)), 0, rowLayout(view.plan))[feature] : undefined;
      // A user none of whose rows the view takes has no row: a count of 0, and nothing else.
      const value = answer === undefined ? (typeof expected === 'bigint' ? 0n : null) : shownValue(answer);
      if (value !== expected) return `${name} of user ${user} is ${String(value)}, the database says ${expected}`;
    }
  }
  return undefined;
}

function shownValue({ status, value }: { readonly status: ValueStatus; readonly value: unknown }): unknown {
  return status === ValueStatus.ABSENT ? null : value;
}
