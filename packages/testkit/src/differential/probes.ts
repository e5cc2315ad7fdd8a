/**
 * The times at which a view's values for a key may change if nothing else happens, from the definition alone.
 *
 * Owns the list of such times; a row's schedule must not change at others (both sides of each of its own steps are
 * read too, see compare.ts) and must change at these when the value does.
 */
import type { FeaturePlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { floorTo, type OracleEvent } from '../oracle/oracle.ts';

/** Ascending, without doubles, microseconds. */
export function changeTimes(view: ViewPlan, events: readonly OracleEvent[]): bigint[] {
  const times = new Set<bigint>();
  for (const feature of view.features) {
    for (const { eventTimeUs } of events) {
      if (eventTimeUs !== undefined) for (const time of changesBy(feature, eventTimeUs)) times.add(time);
    }
  }
  return [...times].sort((a, b) => (a < b ? -1 : Number(a > b)));
}

/** Enters, leaves, and the end of the ttl if the event is the newest. */
function changesBy(feature: FeaturePlan, eventTimeUs: bigint): bigint[] {
  const ttl = feature.ttlUs > 0n ? [eventTimeUs + feature.ttlUs] : [];
  const kind = feature.window?.kind;
  if (kind?.case === 'rolling') {
    const { lengthUs, paneUs } = kind.value;
    return [...ttl, floorTo(eventTimeUs, paneUs) + paneUs + lengthUs];
  }
  if (kind?.case === 'tumbling') {
    const { lengthUs, closed } = kind.value;
    const enters = floorTo(eventTimeUs, lengthUs) + (closed ? lengthUs : 0n);
    return [...ttl, enters, enters + lengthUs];
  }
  return ttl;
}
