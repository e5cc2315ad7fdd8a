/**
 * What a request asks for, compiled: outputs, the views they come from, the key columns needed. Compiled once per
 * catalogue and list of names, because most calls ask for the same.
 *
 * Owns names and their errors. Does not own keys' values (keys.ts) or rows.
 */

import { OnDemandProgram } from '@freshet/engine/on-demand/on-demand.ts';
import type { EntityPlan, KeyColumn } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Catalog, Output, ServedService, ServedView } from '@freshet/replica/catalog.ts';
import { checkLimit, FEATURES_MAX } from './limits.ts';
import type { SelectedOnDemand } from './on-demand.ts';

/** An output as the answer's writer needs it. */
export interface SelectedOutput {
  readonly kind: Kind;
  /** The index of its view in the selection, and of its feature in the view; on-demand features are one view more. */
  readonly view: number;
  readonly feature: number;
  /** FeatureColumn.name, encoded with tag and length. */
  readonly encodedName: Uint8Array;
}

export interface SelectedView {
  readonly view: ServedView;
  /** The index of its entity in the selection. */
  readonly entity: number;
}

export interface Selection {
  /** The stored outputs, then the on-demand ones. */
  readonly outputs: readonly SelectedOutput[];
  readonly stored: readonly SelectedOutput[];
  /** Set for a service that takes request data or computes anything. */
  readonly onDemand: SelectedOnDemand | undefined;
  /** In the order of the first output of each. */
  readonly views: readonly SelectedView[];
  readonly entities: readonly SelectedEntity[];
  /** The key columns of all entities, each name once. */
  readonly keyColumns: readonly KeyColumn[];
}

/** The key of an entity: which of the selection's key columns it is made of. */
export interface SelectedEntity {
  readonly columns: readonly number[];
  readonly kinds: readonly Kind[];
}

const CACHED_MAX = 1000;
// Of all lists remembered: a list may have 500 outputs, and there are as many lists as callers care to send.
const CACHED_OUTPUTS_MAX = 50_000;

/** Compiles selections and remembers them for as long as the catalogue is the same object. R4: so many of so many. */
export class Selections {
  #catalog: Catalog | undefined;
  readonly #services = new Map<string, Selection>();
  readonly #lists = new Map<string, Selection>();
  #listedOutputs = 0;

  /** Throws INVALID_REQUEST, UNKNOWN_SERVICE, UNKNOWN_FEATURE, UNAVAILABLE or REQUEST_TOO_LARGE. */
  select(catalog: Catalog, service: string, features: readonly string[]): Selection {
    if (this.#catalog !== catalog) {
      this.#catalog = catalog;
      this.#services.clear();
      this.#forgetLists();
    }
    const known = features.length === 0 ? this.#services : this.#lists;
    const name = features.length === 0 ? service : JSON.stringify([service, ...features]);
    const found = known.get(name);
    if (found !== undefined) return found;
    const selection = compile(...wantedOf(catalog, service, features));
    if (known === this.#lists) this.#makeRoom(selection.outputs.length);
    known.set(name, selection);
    return selection;
  }

  /** How many outputs the remembered lists have together. */
  get listedOutputs(): number {
    return this.#listedOutputs;
  }

  #makeRoom(outputs: number): void {
    if (this.#lists.size >= CACHED_MAX || this.#listedOutputs + outputs > CACHED_OUTPUTS_MAX) this.#forgetLists();
    this.#listedOutputs += outputs;
  }

  #forgetLists(): void {
    this.#lists.clear();
    this.#listedOutputs = 0;
  }
}

function wantedOf(
  catalog: Catalog,
  service: string,
  features: readonly string[],
): [outputs: readonly Output[], service?: ServedService] {
  if (service !== '' && features.length > 0) {
    throw new FreshetError('INVALID_REQUEST', 'the request names both a service and features', {
      place: 'features',
      remedy: 'name either a service, or features without a service',
    });
  }
  if (service !== '') {
    const served = serviceNamed(catalog, service);
    return [served.outputs, served];
  }
  if (features.length === 0) {
    throw new FreshetError('INVALID_REQUEST', 'the request names neither a service nor features', {
      place: 'service',
      remedy: 'name a service, or features as "view:feature"',
    });
  }
  return [features.flatMap((name) => featureOutputs(catalog, name))];
}

function serviceNamed(catalog: Catalog, name: string): ServedService {
  const service = catalog.services.get(name);
  if (service !== undefined) return service;
  if (catalog.pending.has(`service ${name}`)) throw notYet('the feature service', name);
  throw new FreshetError('UNKNOWN_SERVICE', `there is no feature service "${name}"`, {
    place: 'service',
    remedy: suggest(name, [...catalog.services.keys()], 'list the services with ListServices'),
  });
}

function featureOutputs(catalog: Catalog, name: string): readonly Output[] {
  const colon = name.indexOf(':');
  if (colon < 0) {
    throw new FreshetError('UNKNOWN_FEATURE', `"${name}" does not name a feature`, {
      place: 'features',
      remedy: suggest(name, featureNames(catalog), 'write "view:feature", or "view:*" for all of a view'),
    });
  }
  const viewName = name.slice(0, colon);
  const featureName = name.slice(colon + 1);
  const view = catalog.views.get(viewName);
  if (view === undefined) {
    if (catalog.pending.has(`view ${viewName}`)) throw notYet('the view', viewName);
    throw new FreshetError('UNKNOWN_FEATURE', `there is no view "${viewName}" (in "${name}")`, {
      place: 'features',
      remedy: suggest(viewName, [...catalog.views.keys()], 'list what can be read with ListServices'),
    });
  }
  const { features } = view.layout;
  if (featureName === '*') return features.map((_, index) => output(view, index));
  const index = features.findIndex((feature) => feature.name === featureName);
  if (index >= 0) return [output(view, index)];
  throw new FreshetError('UNKNOWN_FEATURE', `the view "${viewName}" has no feature "${featureName}"`, {
    place: 'features',
    remedy: suggest(
      featureName,
      features.map((f) => f.name),
      `ask for "${viewName}:*" to see what it has`,
    ),
  });
}

function output(view: ServedView, feature: number): Output {
  const layout = must(view.layout.features[feature]);
  return { name: `${view.name}:${layout.name}`, view, feature, layout };
}

function featureNames(catalog: Catalog): string[] {
  return [...catalog.views.values()].flatMap((view) => view.layout.features.map((f) => `${view.name}:${f.name}`));
}

function notYet(what: string, name: string): FreshetError {
  return new FreshetError('UNAVAILABLE', `${what} "${name}" is defined but not complete here yet`, {
    remedy: 'try again shortly; GetServeStatus and `freshet status` tell how far it is',
  });
}

function suggest(name: string, candidates: readonly string[], otherwise: string): string {
  const near = closest(name, candidates);
  return near === undefined ? otherwise : `did you mean "${near}"? Otherwise ${otherwise}`;
}

function compile(outputs: readonly Output[], service?: ServedService): Selection {
  const count = outputs.length + (service?.plan.onDemand.length ?? 0);
  checkLimit(count, FEATURES_MAX, 'features', 'Ask for fewer features at once.');
  const views: SelectedView[] = [];
  const entities: EntityPlan[] = [];
  const stored = outputs.map(({ name, view, feature, layout }): SelectedOutput => {
    let index = views.findIndex((known) => known.view === view);
    if (index < 0) index = views.push({ view, entity: entityOf(view, entities) }) - 1;
    return { kind: layout.kind, view: index, feature, encodedName: encodeName(name) };
  });
  const keyColumns = keyColumnsOf(entities);
  const onDemand = onDemandOf(service);
  const computed = (onDemand?.program.features ?? []).map(
    ({ name, type }, feature): SelectedOutput => ({
      kind: type.kind,
      view: views.length,
      feature,
      encodedName: encodeName(name),
    }),
  );
  return {
    outputs: [...stored, ...computed],
    stored,
    onDemand,
    views,
    entities: entities.map((entity) => selectedEntity(entity, keyColumns)),
    keyColumns,
  };
}

function onDemandOf(service: ServedService | undefined): SelectedOnDemand | undefined {
  if (service === undefined) return undefined;
  const { name, plan } = service;
  if (plan.onDemand.length === 0 && plan.request.length === 0) return undefined;
  return { service: name, request: plan.request, program: new OnDemandProgram(plan) };
}

/** The index of the view's entity; added if none with the same key is there. */
function entityOf({ entity }: ServedView, entities: EntityPlan[]): number {
  const index = entities.findIndex((known) => sameKey(known, entity));
  return index < 0 ? entities.push(entity) - 1 : index;
}

function selectedEntity({ key }: EntityPlan, keyColumns: readonly KeyColumn[]): SelectedEntity {
  return {
    columns: key.map(({ name }) => keyColumns.findIndex((column) => column.name === name)),
    kinds: key.map(({ kind }) => kind),
  };
}

/** Whether two entities have the same key columns: their encoded keys are then the same. */
function sameKey(a: EntityPlan, b: EntityPlan): boolean {
  return (
    a.key.length === b.key.length &&
    a.key.every(({ name, kind }, i) => name === b.key[i]?.name && kind === b.key[i]?.kind)
  );
}

/** The key columns that a list of entities needs, each name once, in their order. */
export function keyColumnsOf(entities: readonly EntityPlan[]): KeyColumn[] {
  const byName = new Map<string, KeyColumn>();
  for (const column of entities.flatMap((entity) => entity.key)) {
    if (!byName.has(column.name)) byName.set(column.name, column);
  }
  return [...byName.values()];
}

function encodeName(name: string): Uint8Array {
  const text = Buffer.from(name, 'utf8');
  const length: number[] = [];
  let rest = text.length;
  for (; rest >= 0x80; rest >>>= 7) length.push((rest & 0x7f) | 0x80);
  return Buffer.concat([Buffer.from([0x0a, ...length, rest]), text]);
}
