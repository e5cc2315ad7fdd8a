/** That no name is given twice where it must be unique. Tells both places. */
import type { Definitions, Location } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { formatPlace, type Problems } from './problems.ts';

interface Named {
  readonly name: string;
  readonly location?: Location | undefined;
}

/** Adds a problem for every name that was taken already. */
export function checkNames(definitions: Definitions, problems: Problems): void {
  unique('Entity', definitions.entities, problems);
  unique('Source', definitions.sources, problems);
  unique('View', definitions.views, problems);
  unique('Service', definitions.services, problems);
  for (const entity of definitions.entities) {
    const columns = entity.key.map(({ name }) => ({ name, location: entity.location }));
    unique(`Key column of entity ${entity.name}:`, columns, problems);
  }
  for (const view of definitions.views) {
    unique(`Feature of view ${view.name}:`, view.features, problems);
    unique(`Derived column of view ${view.name}:`, view.derived, problems);
  }
  for (const service of definitions.services) {
    unique(`Request field of service ${service.name}:`, service.request, problems);
    unique(`On-demand feature of service ${service.name}:`, service.onDemand, problems);
  }
}

function unique(what: string, items: readonly Named[], problems: Problems): void {
  const first = new Map<string, Named>();
  for (const item of items) {
    const other = first.get(item.name);
    // A name that is missing was told already.
    if (other === undefined || item.name === '') {
      first.set(item.name, item);
      continue;
    }
    const place = formatPlace(other.location);
    const remedy = `Rename one of the two${place === '' ? '' : `; the other is at ${place}`}.`;
    problems.add(item.location, `${what} ${item.name} is defined twice.`, remedy);
  }
}
