/**
 * Who answers for what, for those who have no definitions as they were written: the gate in the stream names them in the
 * row that it holds. Owns what has an owner of its own; who belongs to what is for readers to know (contracts/usage.ts).
 */
import { create } from '@bufbuild/protobuf';
import type { Definitions } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { StoredDefinitions } from '@freshet/gen/freshet/registry/v1/storage_pb.ts';
import { type OwnerPlan, OwnerPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { compareStrings } from '@freshet/values/compare.ts';

/** Of views, features and services, by subject ascending. */
export function ownersOf({ views, services }: Definitions): OwnerPlan[] {
  const owners: OwnerPlan[] = [];
  const put = (subject: string, owner: string): void => {
    if (owner !== '') owners.push(create(OwnerPlanSchema, { subject, owner }));
  };
  for (const view of views) {
    put(`view ${view.name}`, view.owner);
    for (const { name, owner } of view.features) put(`feature ${view.name}:${name}`, owner);
  }
  for (const { name, owner } of services) put(`service ${name}`, owner);
  return owners.sort((a, b) => compareStrings(a.subject, b.subject));
}

/** What was put in force before resolved definitions had owners, with those that were written: it is no other for it. */
export function withOwners(stored: StoredDefinitions): StoredDefinitions {
  const { written, resolved } = stored;
  if (written === undefined || resolved === undefined || resolved.owners.length > 0) return stored;
  return { ...stored, resolved: { ...resolved, owners: ownersOf(written) } };
}
