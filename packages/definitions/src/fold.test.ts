/**
 * Goal: the fold computes what the definitions say, with nothing between them but the resolved plan. Method: a
 * storefront from YAML, a short log through the engine, and the values read from its rows; then the same over a table
 * that changed its shape.
 */
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { decodeRow } from '@freshet/engine/rows/row-codec.ts';
import { rowLayout, valuesAt } from '@freshet/engine/rows/row-reader.ts';
import { ShardFold } from '@freshet/engine/shard-fold.ts';
import { LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { encodeKey, keyString } from '@freshet/values/key.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { valueToProto } from '@freshet/values/value-codec.ts';
import { describe, expect, it } from 'vitest';
import { ACTIVITY_COLUMNS, column, contractOf, STOREFRONT } from './definitions.testing.ts';
import { parseDefinitions } from './parse.ts';
import { resolveDefinitions } from './resolve.ts';

function resolve(text: string, previous?: DefinitionSet, contract = contractOf()): DefinitionSet {
  const definitions = parseDefinitions([{ path: 'f.yaml', text }]);
  return resolveDefinitions({ definitions, contracts: new Map([['user_activity', contract]]), previous }).resolved;
}

type RecordKind = NonNullable<MessageInitShape<typeof LogRecordSchema>['kind']>;

const T0 = 1_700_000_000_000_000;
const SECOND = 1_000_000;

class Shard {
  readonly fold = new ShardFold({ cold: { load: () => undefined }, cacheBytes: 1 << 20 });
  #sequence = 0n;

  append(logTimeUs: number, kind: RecordKind): void {
    const record = toBinary(LogRecordSchema, create(LogRecordSchema, { kind }));
    this.fold.fold([{ offset: this.fold.position, logTimeUs, record, crc: 0 }]);
  }

  /** An inserted row of the set's first route, by column name; what is not named is null. */
  insert(set: DefinitionSet, eventTimeUs: number, values: Record<string, Scalar>): void {
    const contract = set.routes[0]!.source!.contract!;
    this.append(eventTimeUs, {
      case: 'change',
      value: {
        route: 1,
        generation: 1,
        lane: 2,
        sequence: { major: ++this.#sequence },
        operation: Operation.INSERT,
        entityKey: encodeKey([Kind.INT64], [values['user_id']!]) as Uint8Array<ArrayBuffer>,
        contractVersion: contract.version,
        row: contract.columns.map(({ name, type }) => valueToProto(type!, values[name] ?? null)),
        eventTimeUs: BigInt(eventTimeUs),
      },
    });
  }

  /** The features of a user in a view, by name, at a time; undefined without a row. */
  read(set: DefinitionSet, viewName: string, userId: bigint, tUs: number): Record<string, Scalar> | undefined {
    const view = set.views.find(({ name }) => name === viewName)!;
    const row = this.fold.row(Buffer.from(view.viewId).toString('hex'), keyString(encodeKey([Kind.INT64], [userId])));
    if (row === undefined) return undefined;
    const layout = rowLayout(view);
    const values = valuesAt(decodeRow(row.bytes, layout.types), tUs, layout);
    return Object.fromEntries(view.features.map(({ name }, i) => [name, values[i]!.value]));
  }
}

describe('resolved definitions', () => {
  it('are all that the fold needs', () => {
    const set = resolve(STOREFRONT);
    const shard = new Shard();
    shard.append(T0, { case: 'definitions', value: set });
    shard.append(T0, { case: 'routeBegin', value: { route: 1, generation: 1 } });
    shard.append(T0, { case: 'snapshotEnd', value: { route: 1, generation: 1 } });
    const base = { user_id: 7n, event_type: 'click', score: 0.5, tags: [] };
    shard.insert(set, T0 + SECOND, { ...base, amount: '10.50', occurred_at: BigInt(T0 + SECOND) });
    shard.insert(set, T0 + 2 * SECOND, { ...base, amount: null, occurred_at: BigInt(T0 + 2 * SECOND) });
    shard.insert(set, T0 + 3 * SECOND, {
      ...base,
      event_type: 'view',
      amount: '99',
      occurred_at: BigInt(T0 + 3 * SECOND),
    });
    expect([shard.fold.completeViews(), shard.fold.incompleteViews()].map(({ length }) => length)).toEqual([1, 1]);
    expect(shard.read(set, 'user_clicks', 7n, T0 + 4 * SECOND)).toEqual({
      click_count_5min: 2n,
      clicks_by_hour: 0n,
      last_click_at: BigInt(T0 + 2 * SECOND),
      spend_1h: '10.50',
    });
    expect(shard.read(set, 'user_clicks', 7n, T0 + 310 * SECOND)).toMatchObject({
      click_count_5min: 0n,
      spend_1h: '10.50',
    });
    expect(shard.read(set, 'user_clicks', 8n, T0)).toBeUndefined();
  });

  it('carry a view over a change of its table', () => {
    const before = resolve(STOREFRONT);
    const shard = new Shard();
    shard.append(T0, { case: 'definitions', value: before });
    shard.append(T0, { case: 'routeBegin', value: { route: 1, generation: 1 } });
    shard.append(T0, { case: 'snapshotEnd', value: { route: 1, generation: 1 } });
    const base = { user_id: 7n, event_type: 'click', score: 0.5, tags: [] };
    shard.insert(before, T0, { ...base, amount: '1', occurred_at: BigInt(T0) });
    // A column in front of all others: by position, every column would be misread.
    const columns = [column('channel', Kind.STRING), ...ACTIVITY_COLUMNS.filter(({ name }) => name !== 'tags')];
    const after = resolve(
      STOREFRONT.replace('views_1h:', 'channel: { last: channel }\n  views_1h:'),
      before,
      contractOf(columns),
    );
    shard.append(T0 + SECOND, { case: 'definitions', value: after });
    shard.insert(after, T0 + SECOND, { ...base, channel: 'web', amount: '2', occurred_at: BigInt(T0 + SECOND) });
    expect(after.routes[0]?.source?.contract?.version).toBe(2);
    expect(shard.read(after, 'user_clicks', 7n, T0 + SECOND)).toMatchObject({ click_count_5min: 2n, spend_1h: '3' });
  });
});
