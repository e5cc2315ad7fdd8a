/**
 * Goal: no request makes the registry hold or do more than its limits say. Method: the real decisions and engines, on a
 * store in memory, with a clock that the test moves.
 */
import { systemClock } from '@freshet/kit/clock.ts';
import { afterAll, expect, it } from 'vitest';
import { schemaEngines } from '../../engines.ts';
import { SchemaThreads } from '../../io/schema-workers.ts';
import { MemorySchemaStore } from '../../testing/memory-schema-store.ts';
import type { RegistrationRequest } from './registration.ts';
import { type RegistryLimits, SubjectRegistry } from './subject-registry.ts';

const SUBJECT = { context: '.', name: 's' };
const given = (schema: string, rest: Partial<RegistrationRequest> = {}): RegistrationRequest => ({
  schema,
  schemaType: 'AVRO',
  references: [],
  metadata: undefined,
  ruleSet: undefined,
  normalize: undefined,
  id: undefined,
  version: undefined,
  extra: undefined,
  ...rest,
});
const record = (fields: number): string =>
  JSON.stringify({
    type: 'record',
    name: 'R',
    fields: Array.from({ length: fields }, (_, at) => ({ name: `f${at}`, type: 'string', default: '' })),
  });

const workers = new SchemaThreads({ oneofRule: 'latest', clock: systemClock, threads: 1 });
afterAll(() => workers.close());

let stepUs = 0;
async function open(limits: Partial<RegistryLimits> = {}): Promise<SubjectRegistry> {
  let nowUs = 1;
  stepUs = 0;
  const step = (): number => {
    nowUs += stepUs;
    return nowUs;
  };
  const clock = { nowUs: step, monotonicUs: step };
  const store = new MemorySchemaStore();
  return SubjectRegistry.open({ store, engines: schemaEngines({ oneofRule: 'latest' }), workers, clock, limits });
}

it('stops judging a long history once it took its time, and goes on with the next request', async () => {
  const registry = await open({ judgingMs: 9 });
  await registry.updateConfig(SUBJECT, { compatibility: 'BACKWARD_TRANSITIVE' });
  for (let fields = 1; fields <= 10; fields++) await registry.register(SUBJECT, given(record(fields)));
  stepUs = 900;
  await expect(registry.register(SUBJECT, given(record(11)))).rejects.toMatchObject({ code: 42209 });
  stepUs = 0;
  expect(await registry.register(SUBJECT, given(record(11)))).toMatchObject({ version: 11, id: 11 });
});

it('counts metadata, rule sets and unknown properties as what it holds, and forgets them with their version', async () => {
  const registry = await open({ characters: 1_000 });
  const long = 'x'.repeat(2_000);
  const metadata = { properties: { note: long } };
  const { version } = await registry.register(SUBJECT, given('"string"', { metadata }));
  expect(registry.index.characters).toBeGreaterThan(2_000);
  await expect(registry.register({ context: '.', name: 'other' }, given('"int"'))).rejects.toMatchObject({
    code: 42205,
  });
  await registry.deleteVersion(SUBJECT, version, false);
  await registry.deleteVersion(SUBJECT, version, true);
  expect(registry.index.characters).toBe(0);
});

it('bounds the settings of a scope, over all updates together', async () => {
  const registry = await open();
  const update = (key: string) => registry.updateConfig(SUBJECT, { [key]: 'x'.repeat(200_000) });
  await update('a');
  await expect(update('b')).rejects.toMatchObject({ code: 42209 });
  await update('a');
});

it('finds a schema without metadata among versions that have some', async () => {
  const registry = await open();
  await registry.updateConfig(SUBJECT, { compatibility: 'NONE' });
  for (let fields = 1; fields <= 20; fields++)
    await registry.register(SUBJECT, given(record(fields), { metadata: { properties: { n: String(fields) } } }));
  // A serialiser that registers what it writes with knows no metadata.
  expect(await registry.register(SUBJECT, given(record(7)))).toMatchObject({ version: 7, id: 7 });
});
