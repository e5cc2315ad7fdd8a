/** For tests: a feature source made of definitions and rows, without disk or network. */

import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import type { DefinitionSet, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { RowSchema } from '@freshet/gen/freshet/type/v1/row_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { buildCatalog } from '@freshet/replica/catalog.ts';
import { toLatin1 } from '@freshet/replica/latin1.ts';
import { rowKeyOfText } from '@freshet/replica/row-key.ts';
import { RowReader } from '@freshet/replica/row-reader.ts';
import { ViewTable } from '@freshet/replica/view-table.ts';
import { encodeKey, keyString } from '@freshet/values/key.ts';
import { partitionOfKeyString } from '@freshet/values/partition.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { createFeatureHandler, type FeatureSource } from './get-features.ts';

export interface TestRow {
  readonly view: ViewPlan;
  readonly key: readonly Scalar[];
  readonly row: MessageInitShape<typeof RowSchema>;
}

/** A source that serves the definitions with the rows, over a number of shards. */
export function testSource(definitions: DefinitionSet, rows: readonly TestRow[], shards = 4): FeatureSource {
  const tables = new Map<string, ViewTable[]>();
  definitions.views.forEach((view, v) => {
    const all = Array.from({ length: shards }, (_, shard) => {
      const table = new ViewTable(toHex(view.viewId), v * shards + shard);
      table.whole = true;
      table.completeThroughUs = 1000 + shard;
      return table;
    });
    tables.set(toHex(view.viewId), all);
  });
  for (const { view, key, row } of rows) {
    const kinds = view.entity?.key.map(({ kind }) => kind) ?? [];
    const text = keyString(encodeKey(kinds, key));
    const table = tables.get(toHex(view.viewId))?.[partitionOfKeyString(text, shards)];
    table?.put(rowKeyOfText(text), Number(row.version ?? 0n), toLatin1(toBinary(RowSchema, create(RowSchema, row))));
  }
  return {
    catalog: buildCatalog([definitions], (id) => tables.get(id), shards),
    reader: new RowReader(),
    definitions,
  };
}

/** A handler that answers every call at once, as one does whose clock stands still. */
export function handlerAtOnce(source: FeatureSource, clock: Clock): (request: Uint8Array) => Buffer {
  const handler = createFeatureHandler(source, { clock, yieldNow: () => Promise.resolve() });
  return (request) => {
    const answer = handler(Buffer.from(request));
    if (answer instanceof Promise) throw new Error('the call was answered in turns');
    return answer;
  };
}

/** A clock that is moved by hand. */
export function handClock(nowUs: number): Clock & { us: number } {
  const clock = {
    us: nowUs,
    nowUs: () => clock.us,
    monotonicUs: () => clock.us,
    sleep: () => Promise.resolve(),
  };
  return clock;
}
