/** freshet get: features of entities, as the serve node answers now. */

import { create } from '@bufbuild/protobuf';
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type {
  EntityKeys,
  GetFeaturesResponse,
  RequestColumn,
  ServiceDescription,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { EntityKeysSchema, ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { table } from '../output/table.ts';
import { paint, type Terminal } from '../output/terminal.ts';
import { durationText, parseKeyValue, timestampText, valueAt } from '../output/values.ts';
import { requestColumns } from './request-data.ts';

export interface GetOptions {
  readonly features?: readonly string[];
  /** "column=value" */
  readonly key: readonly string[];
  /** "field=value", or "field" for null. */
  readonly request?: readonly string[];
  readonly serve: string;
  readonly registry: string;
  readonly json?: boolean;
}

export async function getCommand(terminal: Terminal, service: string | undefined, options: GetOptions): Promise<void> {
  const serve = createGrpcClient(ServeService, options.serve, { headers: { 'freshet-reader': 'freshet-cli' } });
  try {
    const columns = keyColumns(options.key);
    const kinds = await keyKinds(serve, service, [...columns.keys()], options.registry, terminal.signal);
    const keys = [...columns].map(([name, texts]) => entityKeys(name, kinds.get(name) ?? guessKind(texts), texts));
    const request = await requestData(serve, service, options.request ?? [], terminal.signal);
    const response = await serve.getFeatures(
      { service: service ?? '', features: [...(options.features ?? [])], keys, request, rowInfo: true },
      { signal: terminal.signal },
    );
    const entities = entityNames(columns);
    terminal.out(
      options.json === true
        ? `${JSON.stringify(answerJson(service, columns, response))}\n`
        : answerText(terminal, service, entities, response),
    );
  } finally {
    serve.close();
  }
}

async function requestData(
  serve: GrpcClient<typeof ServeService>,
  name: string | undefined,
  pairs: readonly string[],
  signal: AbortSignal,
): Promise<RequestColumn[]> {
  if (pairs.length === 0) return [];
  const { services } = await serve.listServices({}, { signal });
  const service = services.find((candidate) => candidate.name === name);
  if (service !== undefined) return requestColumns(service, pairs);
  throw new FreshetError('WRONG_REQUEST_DATA', 'request data is for a service that computes on-demand features', {
    place: '--request',
    remedy: 'name the service in the place of --features',
  });
}

/** The texts of each key column, in the order of the entities. */
function keyColumns(pairs: readonly string[]): Map<string, string[]> {
  const columns = new Map<string, string[]>();
  for (const pair of pairs) {
    const at = pair.indexOf('=');
    const name = pair.slice(0, at);
    columns.set(name, [...(columns.get(name) ?? []), pair.slice(at + 1)]);
  }
  const [first, ...others] = [...columns];
  for (const [name, texts] of others) {
    if (texts.length === first?.[1].length) continue;
    throw new FreshetError(
      'WRONG_KEY',
      `${first?.[0]} is given for ${first?.[1].length} entities but ${name} for ${texts.length}`,
      {
        remedy: 'give every key column once for each entity',
        place: `--key ${name}`,
      },
    );
  }
  return columns;
}

/**
 * The kinds of the key columns: those of the service; for features, of any service with such a column, else of an entity
 * in the registry. What nobody knows is guessed, and the serve node's answer says what is wrong with it.
 */
async function keyKinds(
  serve: GrpcClient<typeof ServeService>,
  service: string | undefined,
  names: readonly string[],
  registryAddress: string,
  signal: AbortSignal,
): Promise<Map<string, Kind>> {
  const kinds = new Map<string, Kind>();
  const { services } = await serve.listServices({}, { signal });
  if (service !== undefined) return serviceKeyKinds(services, service, names);
  for (const { keys } of services) for (const { name, kind } of keys) if (!kinds.has(name)) kinds.set(name, kind);
  if (names.every((name) => kinds.has(name))) return kinds;
  const registry = createGrpcClient(RegistryService, registryAddress, { deadlineMs: 2_000 });
  try {
    const { resolved } = await registry.getDefinitions({}, { signal });
    for (const view of resolved?.views ?? []) {
      for (const { name, kind } of view.entity?.key ?? []) if (!kinds.has(name)) kinds.set(name, kind);
    }
  } catch (error) {
    // Reading features does not need the registry.
    if (!isFreshetError(error, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw error;
  } finally {
    registry.close();
  }
  return kinds;
}

/** Throws UNKNOWN_SERVICE, or WRONG_KEY when columns are missing or are none of the service's. */
function serviceKeyKinds(
  services: readonly ServiceDescription[],
  name: string,
  given: readonly string[],
): Map<string, Kind> {
  const service = services.find((candidate) => candidate.name === name);
  if (service === undefined) {
    const known = services.map((candidate) => candidate.name);
    const near = closest(name, known);
    const all = known.length === 0 ? "nothing is served yet; see 'freshet status'" : `there are ${known.join(', ')}`;
    throw new FreshetError('UNKNOWN_SERVICE', `no feature service is called ${name}`, {
      remedy: near === undefined ? all : `did you mean ${near}?`,
    });
  }
  const needed = service.keys.map((key) => key.name);
  const unknown = given.find((column) => !needed.includes(column));
  const missing = needed.filter((column) => !given.includes(column));
  if (unknown !== undefined || missing.length > 0) {
    const what = unknown === undefined ? `needs the key ${missing.join(' and ')}` : `has no key ${unknown}`;
    throw new FreshetError('WRONG_KEY', `${name} ${what}`, {
      remedy: `give ${needed.map((column) => `--key ${column}=…`).join(' ')}`,
      place: `--key ${unknown ?? missing.join(', ')}`,
    });
  }
  return new Map(service.keys.map((key) => [key.name, key.kind]));
}

function guessKind(texts: readonly string[]): Kind {
  return texts.every((text) => /^-?\d{1,18}$/.test(text)) ? Kind.INT64 : Kind.STRING;
}

function entityKeys(name: string, kind: Kind, texts: readonly string[]): EntityKeys {
  // parseKeyValue gives each value the type of the kind, which selects the list.
  const values: unknown = texts.map((text) => parseKeyValue(name, kind, text));
  switch (kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      return create(EntityKeysSchema, { name, values: { case: 'int64s', value: { values: values as bigint[] } } });
    case Kind.BOOL:
      return create(EntityKeysSchema, { name, values: { case: 'bools', value: { values: values as boolean[] } } });
    case Kind.BYTES:
      return create(EntityKeysSchema, { name, values: { case: 'bytes', value: { values: values as Uint8Array[] } } });
    default:
      return create(EntityKeysSchema, { name, values: { case: 'strings', value: { values: values as string[] } } });
  }
}

/** "user_id=42", one per entity. */
function entityNames(columns: ReadonlyMap<string, readonly string[]>): string[] {
  const count = [...columns.values()][0]?.length ?? 0;
  return Array.from({ length: count }, (_, i) => [...columns].map(([name, texts]) => `${name}=${texts[i]}`).join(' '));
}

function answerText(
  terminal: Terminal,
  service: string | undefined,
  entities: readonly string[],
  response: GetFeaturesResponse,
): string {
  const freshnessUs = Number(response.asOfUs - response.completeThroughUs);
  const parts = entities.map((entity, i) => {
    const rows = response.columns.map(({ name, values }) => {
      const { text, status } = values === undefined ? { text: '–', status: 'absent' as const } : valueAt(values, i);
      const shown = status === 'absent' ? paint(terminal, 'dim', text) : paint(terminal, 'bold', text);
      return [name, shown, statusText(terminal, status), eventTime(response, name, i)];
    });
    const title = service === undefined ? entity : `${service} · ${entity}`;
    const columns = [
      { head: 'feature' },
      { head: 'value', align: 'right' as const },
      { head: 'status' },
      { head: 'newest event' },
    ];
    return `${paint(terminal, 'bold', title)}\n${table(terminal, columns, rows)}`;
  });
  const footer = `as of ${timestampText(response.asOfUs)}, fresh to ${durationText(Math.max(0, freshnessUs))} before\n`;
  return `${parts.join('\n')}\n${paint(terminal, 'dim', footer)}`;
}

function statusText(terminal: Terminal, status: string): string {
  if (status === 'out_of_range') return paint(terminal, 'red', 'out of range');
  return status === 'present' ? status : paint(terminal, 'yellow', status);
}

function eventTime(response: GetFeaturesResponse, output: string, i: number): string {
  const info = response.rows.find((row) => row.view === viewOf(output));
  const us = info?.eventTimesUs[i] ?? 0n;
  return us === 0n ? '–' : timestampText(us);
}

/** "user_clicks" of "user_clicks:click_count_5min"; nothing for an on-demand feature, which is of no view. */
function viewOf(output: string): string {
  return output.slice(0, Math.max(0, output.indexOf(':')));
}

function answerJson(
  service: string | undefined,
  columns: ReadonlyMap<string, readonly string[]>,
  response: GetFeaturesResponse,
): Record<string, unknown> {
  const count = [...columns.values()][0]?.length ?? 0;
  return {
    ...(service !== undefined && { service }),
    asOfUs: response.asOfUs.toString(),
    completeThroughUs: response.completeThroughUs.toString(),
    freshnessUs: Math.max(0, Number(response.asOfUs - response.completeThroughUs)),
    entities: Array.from({ length: count }, (_, i) => ({
      keys: Object.fromEntries([...columns].map(([name, texts]) => [name, texts[i]])),
      features: Object.fromEntries(
        response.columns.map(({ name, values }) => {
          const { json, status } = values === undefined ? { json: null, status: 'absent' } : valueAt(values, i);
          return [name, { value: json, status }];
        }),
      ),
      rows: Object.fromEntries(
        response.rows.map((row) => [row.view, rowJson(row.versionsPlusOne[i] ?? 0n, row.eventTimesUs[i] ?? 0n)]),
      ),
    })),
  };
}

function rowJson(versionPlusOne: bigint, eventTimeUs: bigint): Record<string, unknown> | null {
  if (versionPlusOne === 0n) return null;
  return {
    version: (versionPlusOne - 1n).toString(),
    eventTime: eventTimeUs === 0n ? null : timestampText(eventTimeUs),
  };
}
