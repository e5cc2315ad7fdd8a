/**
 * Goal: Confluent's client for Python runs unchanged, its serialisers included. Method: the real client in a virtual
 * environment of its own, against the API over real HTTP. Skipped by reason where the environment cannot be made, which
 * fails the run in CI (scripts/test.ts).
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { pythonClient } from '../../../../scripts/python-client.ts';
import { startSchemaApi } from './schema-api-harness.ts';

it('registers, serialises, reads back, evolves and deletes', { timeout: 600_000 }, async (context) => {
  const client = pythonClient();
  if ('reason' in client) return context.skip(client.reason);
  const api = await startSchemaApi();
  try {
    const types = ['AVRO', 'JSON', 'PROTOBUF'];
    expect(api.registry.types.toSorted()).toEqual(types);
    const program = join(import.meta.dirname, 'python-client.py');
    const { stdout } = await promisify(execFile)(client.python, [program, api.url, ...types], { timeout: 120_000 });
    expect(stdout.trim().split('\n')).toEqual(types.map((type) => `${type} ok`));
  } finally {
    await api.close();
  }
});
