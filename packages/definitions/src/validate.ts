/**
 * Holds definitions to the rules of their message (protovalidate), and tells what breaks them in the words of the
 * definition language: with the place of the definition, not with a path of field numbers.
 */
import type { Message } from '@bufbuild/protobuf';
import type { Path } from '@bufbuild/protobuf/reflect';
import { createValidator, type Violation } from '@bufbuild/protovalidate';
import { type Definitions, DefinitionsSchema, type Location } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { Problems } from './problems.ts';

const validator = createValidator();

const NAME_REMEDY =
  'Names begin with a lower-case letter and hold lower-case letters, digits and underscores, at most 63 in all.';

/** Adds a problem for every rule that is broken. */
export function checkMessage(definitions: Definitions, problems: Problems): void {
  const result = validator.validate(DefinitionsSchema, definitions);
  if (result.kind === 'error') throw result.error;
  for (const violation of result.violations ?? []) {
    const { subject, location, field } = follow(definitions, violation.field);
    problems.add(location, `${subject}: ${describe(field, violation)}.`, remedyFor(violation));
  }
}

function describe(field: string, violation: Violation): string {
  if (violation.ruleId === 'string.pattern') return `the ${field} is not a name that can be used`;
  return field === '' ? violation.message : `${field} ${violation.message.replace(/^value /, '')}`;
}

function remedyFor(violation: Violation): string {
  if (violation.ruleId === 'string.pattern') return NAME_REMEDY;
  return `Change it so that it keeps the rule ${violation.ruleId}: ${violation.message}.`;
}

interface Followed {
  /** The innermost thing with a name that the path goes through: "view user_clicks". */
  readonly subject: string;
  readonly location: Location | undefined;
  readonly field: string;
}

const SUBJECTS: Readonly<Record<string, string>> = {
  'freshet.registry.v1.Entity': 'Entity',
  'freshet.registry.v1.Source': 'Source',
  'freshet.registry.v1.FeatureView': 'View',
  'freshet.registry.v1.FeatureService': 'Service',
  'freshet.registry.v1.Feature': 'Feature',
  'freshet.registry.v1.Derived': 'Derived column',
  'freshet.registry.v1.RequestField': 'Request field',
  'freshet.registry.v1.OnDemandFeature': 'On-demand feature',
};

/** Goes down a path of the message, and remembers the last definition that it came by. */
function follow(definitions: Definitions, path: Path): Followed {
  let node: unknown = definitions;
  let subject = 'Definitions';
  let location: Location | undefined;
  let field = '';
  for (const step of path) {
    if (step.kind === 'list_sub') node = (node as unknown[])[step.index];
    else if (step.kind === 'map_sub') node = (node as Record<string, unknown>)[String(step.key)];
    else if (step.kind === 'field') {
      field = step.name;
      node = (node as Record<string, unknown> | undefined)?.[step.localName];
    } else field = step.name;
    const typeName = (node as Partial<Message> | undefined)?.$typeName;
    if (typeName !== undefined && SUBJECTS[typeName] !== undefined) {
      const named = node as { name: string; location?: Location };
      subject = `${SUBJECTS[typeName]} ${named.name}`;
      location = named.location ?? location;
      field = '';
    }
  }
  return { subject, location, field };
}
