/**
 * The differential comparison through GetFeatures: scenario keys as request columns, response columns as answers.
 *
 *     const read: Read = async ({ service, key, tUs }) => {
 *       clock.setWallUs(tUs);
 *       const request = create(GetFeaturesRequestSchema, { service: service.name, keys: requestKeys(entity, [key]) });
 *       return responseAnswers(history, service, await getFeatures(request), 0);
 *     };
 *     await compareWithOracle({ scenario, history, read });
 *
 * Owns both mappings, by what proto/freshet/serve/v1/serve.proto says.
 */
import { create } from '@bufbuild/protobuf';
import { type EntityKeys, EntityKeysSchema, type GetFeaturesResponse } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { EntityPlan, ServicePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import type { ScenarioKey } from '../generate/scenario.ts';
import { hex, type OracleHistory } from '../oracle/history.ts';
import type { OracleAnswer } from '../oracle/oracle.ts';
import { viewsOf } from './compare.ts';
import { columnValue } from './row-view.ts';

/** The keys of several entities as columns of a request. */
export function requestKeys(entity: EntityPlan, keys: readonly ScenarioKey[]): EntityKeys[] {
  return entity.key.map(({ name, kind }, column) => {
    const values = keys.map((key) => must(key.values[column]));
    return create(EntityKeysSchema, { name, values: keyValues(kind, values) });
  });
}

/** The entity that a service's views have in common. */
export function entityOf(history: OracleHistory, service: ServicePlan): EntityPlan {
  return must(viewsOf(history, service)[0]?.entity);
}

/** What a response says about one of its entities: one answer per output of the service, whose names it checks. */
export function responseAnswers(
  history: OracleHistory,
  service: ServicePlan,
  response: GetFeaturesResponse,
  entity: number,
): OracleAnswer[] {
  // After the stored features come the on-demand ones.
  assert(response.columns.length >= service.features.length, 'the response has not one column per output');
  const views = viewsOf(history, service);
  return service.features.map(({ output, viewId, feature }, index) => {
    const { name, values } = must(response.columns[index]);
    assert(name === output, `column ${name} instead of ${output}`);
    const view = must(views.find((candidate) => hex(candidate.viewId) === hex(viewId)));
    const column = must(values);
    const given = column.statuses[entity] ?? ValueStatus.PRESENT;
    const status = given === ValueStatus.UNSPECIFIED ? ValueStatus.PRESENT : given;
    if (status === ValueStatus.ABSENT || status === ValueStatus.OUT_OF_RANGE) return { status, value: null };
    return { status, value: columnValue(must(view.features[feature]?.resultType), column, entity) };
  });
}

function keyValues(kind: Kind, values: readonly Scalar[]): EntityKeys['values'] {
  switch (kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      return { case: 'int64s', value: { $typeName: 'freshet.serve.v1.Int64List', values: values as bigint[] } };
    case Kind.STRING:
    case Kind.DECIMAL:
      return { case: 'strings', value: { $typeName: 'freshet.serve.v1.StringList', values: values as string[] } };
    case Kind.BYTES:
      return { case: 'bytes', value: { $typeName: 'freshet.serve.v1.BytesList', values: values as Uint8Array[] } };
    case Kind.BOOL:
      return { case: 'bools', value: { $typeName: 'freshet.serve.v1.BoolList', values: values as boolean[] } };
    default:
      throw new Error(`kind ${kind} is no key kind`);
  }
}
