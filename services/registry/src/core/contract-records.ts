/** The records of contracts that definitions bring. Owns which of them are new; not their storage. Pure. */
import { create } from '@bufbuild/protobuf';
import { type ContractRecord, ContractRecordSchema } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import type { DefinitionSet, SourcePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { compareStrings } from '@freshet/values/compare.ts';

/** The sources in force, each once, by name ascending. */
export function sourcesOf(definitions: DefinitionSet | undefined): SourcePlan[] {
  const sources = new Map<string, SourcePlan>();
  for (const { source } of definitions?.routes ?? []) if (source !== undefined) sources.set(source.name, source);
  return [...sources.values()].sort((a, b) => compareStrings(a.name, b.name));
}

/** A source's contract as a record; undefined for a source without one. */
export function recordOf(
  { contract, origin }: SourcePlan,
  generation: bigint,
  accepted: { readonly acceptedBy: string; readonly acceptedAtUs: bigint },
): ContractRecord | undefined {
  if (contract === undefined) return undefined;
  const table = origin.case === 'postgres' ? { table: origin.value } : {};
  return create(ContractRecordSchema, { contract, ...table, generation, ...accepted });
}

/** The contracts of the next definitions that the ones before did not have, by source and version. */
export function acceptedContracts(
  before: DefinitionSet | undefined,
  next: DefinitionSet,
  accepted: { readonly acceptedBy: string; readonly acceptedAtUs: bigint },
): ContractRecord[] {
  const known = new Map(sourcesOf(before).map(({ name, contract }) => [name, contract?.version]));
  return sourcesOf(next).flatMap((source) =>
    known.get(source.name) === source.contract?.version ? [] : (recordOf(source, next.generation, accepted) ?? []),
  );
}
