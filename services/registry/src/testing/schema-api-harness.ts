/** For tests: the Schema Registry API on a real HTTP port in this process. */
import { systemClock } from '@freshet/kit/clock.ts';
import { createHttpHost } from '@freshet/kit/http/host.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import type { SchemaStore } from '../core/subjects/schema-store.ts';
import { type RegistryLimits, SubjectRegistry } from '../core/subjects/subject-registry.ts';
import { schemaEngines } from '../engines.ts';
import { SchemaThreads } from '../io/schema-workers.ts';
import { PROFILES, type ProfileName } from '../rest/profiles.ts';
import { createSchemaApi } from '../rest/schema-api.ts';
import { MemorySchemaStore } from './memory-schema-store.ts';

export interface Reply {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every form.
  readonly body: any;
  readonly type: string | null;
}

export interface SchemaApiHarness {
  readonly url: string;
  readonly registry: SubjectRegistry;
  readonly store: SchemaStore;
  /** "GET /subjects"; a body is sent as JSON, a string as it is. */
  call(what: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Reply>;
  close(): Promise<void>;
}

export async function startSchemaApi(
  options: {
    readonly profile?: ProfileName;
    readonly store?: SchemaStore;
    readonly readOnly?: boolean;
    readonly limits?: Partial<RegistryLimits>;
    readonly allows?: (authorization: string | undefined) => boolean;
  } = {},
): Promise<SchemaApiHarness> {
  const store = options.store ?? new MemorySchemaStore();
  const { readOnly, limits, allows } = options;
  const profile = PROFILES[options.profile ?? 'latest'];
  const engines = schemaEngines(profile);
  const workers = new SchemaThreads({ ...profile, clock: systemClock, threads: 1 });
  const registry = await SubjectRegistry.open({ store, engines, workers, clock: systemClock, readOnly, limits });
  const api = createSchemaApi({ registry, profile, log: silentLogger, allows });
  const host = createHttpHost({ log: silentLogger, extra: api, routes: () => undefined });
  const url = `http://${(await host.listen('127.0.0.1:0')).address}`;
  return {
    url,
    registry,
    store,
    call: async (what, body, headers = {}) => {
      const [method = 'GET', path = '/'] = what.split(' ');
      const text = body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body);
      const type: Record<string, string> =
        text === null ? {} : { 'content-type': 'application/vnd.schemaregistry.v1+json' };
      const response = await fetch(url + path, { method, body: text, headers: { ...type, ...headers } });
      const answer = await response.text();
      return { status: response.status, body: parsed(answer), type: response.headers.get('content-type') };
    },
    close: async () => {
      await host.close(0);
      await workers.close();
    },
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
