/**
 * A source against the live shape of its table. Owns the defaults of a source and the rules about its event time.
 * Does not own the contract's version (contract-version.ts).
 */
import { create } from '@bufbuild/protobuf';
import { ValueRules } from '@freshet/contracts/value-rules.ts';
import type { Source } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { ChangePolicy, type Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type SourcePlan, SourcePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { typeName } from '@freshet/values/type-name.ts';
import type { ResolveContext } from './context.ts';

/** How far an event time may lead ingest's clock when the source does not say. */
export const DEFAULT_MAX_SKEW_US = 5_000_000;

/** The plan of a source; undefined, with a problem, when it cannot be used. */
export function resolveSource(
  source: Source,
  contract: Contract | undefined,
  context: ResolveContext,
): SourcePlan | undefined {
  if (contract === undefined) {
    const message = `The shape of source ${source.name} is not known.`;
    context.problems.add(source.location, message, 'Check that ingest is running and that its database has the table.');
    return undefined;
  }
  checkOrigin(source, context);
  checkEventTime(source, contract, context);
  checkRules(source, contract, context);
  return create(SourcePlanSchema, {
    name: source.name,
    mode: source.mode,
    origin: source.origin,
    eventTimeColumn: source.eventTime,
    maxSkewUs: source.maxSkewUs === 0n ? BigInt(DEFAULT_MAX_SKEW_US) : source.maxSkewUs,
    contract: { ...contract, source: source.name },
    policy: source.policy === ChangePolicy.UNSPECIFIED ? ChangePolicy.EVOLVE : source.policy,
    // Unset is a third thing: what breaks the contract holds the table, what only cannot be taken is put aside alone.
    hold: source.hold,
    rules: source.rules,
  });
}

/** Rules have no places of their own in what was sent: their names tell them apart. */
function checkRules(source: Source, contract: Contract, context: ResolveContext): void {
  try {
    ValueRules.compile(source.rules, contract);
  } catch (error) {
    if (!(error instanceof FreshetError)) throw error;
    for (const { message, remedy } of [error, ...error.also])
      context.problems.add(source.location, `Source ${source.name}: ${message}`, remedy);
  }
  const names = source.rules.map(({ name }) => name);
  const twice = names.find((name, index) => name === '' || names.indexOf(name) !== index);
  if (twice === undefined) return;
  const message = `Source ${source.name}: ${twice === '' ? 'a rule has no name' : `two rules are called ${twice}`}.`;
  context.problems.add(source.location, message, 'Give each rule a name of its own.');
}

/** YAML cannot leave a part of the name out; what a program sends can. */
function checkOrigin(source: Source, context: ResolveContext): void {
  if (source.origin.case !== 'postgres') return;
  const { database, schema, table } = source.origin.value;
  if (database !== '' && schema !== '' && table !== '') return;
  const message = `Source ${source.name} does not name database, schema and table.`;
  context.problems.add(source.location, message, 'Give all three, for example default, public and user_activity.');
}

function checkEventTime(source: Source, contract: Contract, context: ResolveContext): void {
  if (source.eventTime === '') return;
  const column = contract.columns.find(({ name }) => name === source.eventTime);
  const timestamps = contract.columns.filter(({ type }) => type?.kind === Kind.TIMESTAMP).map(({ name }) => name);
  const choice =
    timestamps.length === 0
      ? 'The table has no timestamp column: take `event_time` out, and the time of the commit is used.'
      : `Write for example \`event_time: ${closest(source.eventTime, timestamps) ?? timestamps[0]}\`, or take it out to use the time of the commit.`;
  if (column === undefined) {
    const message = `Source ${source.name} has no column "${source.eventTime}" to take the event time from.`;
    context.problems.add(source.location, message, choice);
    return;
  }
  const type = column.type ?? create(ValueTypeSchema);
  if (type.kind !== Kind.TIMESTAMP) {
    const message = `The event time of source ${source.name} cannot be column "${column.name}": it is ${typeName(type)}, not timestamp.`;
    context.problems.add(source.location, message, choice);
    return;
  }
  if (column.nullable) {
    context.notes.push(
      `Source ${source.name}: event time column ${column.name} may be null; rows in which it is are quarantined.`,
    );
  }
}
