/** What tests of definitions share: a storefront that works, its tables, and errors as lists. */
import { create } from '@bufbuild/protobuf';
import { type Contract, ContractSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

export const STOREFRONT = `
kind: Entity
name: user
key: { user_id: int64 }
---
kind: Entity
name: product
key:
  product_id: string
---
kind: Source
name: user_activity
mode: append
postgres: { table: public.user_activity }
event_time: occurred_at
---
kind: FeatureView
name: user_clicks
entity: user
source: user_activity
where: event_type == "click"
features:
  click_count_5min: { count: {}, rolling: 5m }
  spend_1h:         { sum: amount, rolling: 1h, default: 0.00 }
  last_click_at:    { last: occurred_at, ttl: 30d }
  clicks_by_hour:   { count: , tumbling: 1h, closed: true }
---
kind: FeatureView
name: product_stats
entity: product
source: user_activity
key: { product_id: sku }
derived:
  cents: int(double(amount) * 100.0)
features:
  views_1h: { count: {}, rolling: 1h, pane: 30s }
  cents_ever: { sum: cents, lifetime: {} }
---
kind: FeatureService
name: recommendations
owner: growth
features: [user_clicks:*, product_stats:views_1h]
`;

interface ColumnInit {
  readonly name: string;
  readonly type: { readonly kind: Kind; readonly element?: Kind };
  readonly nullable?: boolean;
  readonly sourceType?: string;
  readonly sourceTypeOid?: number;
}

export function column(name: string, kind: Kind, rest: Partial<ColumnInit> = {}): ColumnInit {
  return { name, type: { kind }, ...rest };
}

export const ACTIVITY_COLUMNS: readonly ColumnInit[] = [
  column('id', Kind.INT64, { sourceType: 'bigint', sourceTypeOid: 20 }),
  column('user_id', Kind.INT64),
  column('sku', Kind.STRING, { nullable: true, sourceType: 'character varying(20)' }),
  column('event_type', Kind.STRING),
  column('amount', Kind.DECIMAL, { nullable: true }),
  column('occurred_at', Kind.TIMESTAMP),
  column('score', Kind.DOUBLE),
  { name: 'tags', type: { kind: Kind.LIST, element: Kind.STRING } },
];

export function contractOf(columns: readonly ColumnInit[] = ACTIVITY_COLUMNS): Contract {
  return create(ContractSchema, {
    source: '',
    version: 0,
    columns: columns.map((init) => ({ ...init })),
    primaryKey: ['id'],
  });
}

/** "place: message -> remedy" of an error and those that came with it; fails when nothing is thrown. */
export function problemsOf(run: () => unknown): string[] {
  try {
    run();
  } catch (error) {
    if (!(error instanceof FreshetError) || error.code !== 'INVALID_DEFINITION') throw error;
    for (const { remedy, message } of [error, ...error.also]) {
      if (remedy === '') throw new Error(`no remedy: ${message}`, { cause: error });
    }
    return [error, ...error.also].map(({ place, message, remedy }) => `${place}: ${message} -> ${remedy}`);
  }
  throw new Error('there should have been problems');
}
