/**
 * The Schema Registry's records as JSON lines, out and in: {"key": …, "value": …}, sorted by key.
 *
 * Owns the lines. An export is of one moment; an import goes into a registry without versions, all of it or nothing.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { isObject, type Json } from './entity.ts';
import { encodeRecord, type RecordText, type StoredRecord } from './records.ts';
import type { SchemaIndex } from './schema-index.ts';
import type { SubjectRegistry } from './subject-registry.ts';

/** Every record, a line each, without the newline. */
export function* exportSchemas(index: SchemaIndex): Generator<string> {
  const records: StoredRecord[] = [];
  for (const context of index.knownContexts) {
    const isListed = index.contexts.includes(context);
    records.push({ kind: 'CONTEXT', context, value: { idMax: index.idMax(context), isListed } });
  }
  for (const scope of index.configScopes) records.push({ kind: 'CONFIG', scope, config: index.configOf(scope) });
  for (const scope of index.modeScopes) records.push({ kind: 'MODE', scope, mode: index.modeOf(scope) });
  for (const subject of index.subjects)
    for (const row of index.rowsOf(subject)) records.push({ kind: 'SCHEMA', subject, version: row.version, row });
  for (const record of records) {
    const { key, value } = encodeRecord(record);
    yield `{"key":${key},"value":${value ?? 'null'}}`;
  }
}

/**
 * Takes an export in; resolves with the number of records. Throws INVALID_REQUEST with the line of one that is none, and
 * SchemaApiError 42205 when the registry has versions already.
 */
export async function importSchemas(registry: SubjectRegistry, lines: Iterable<string>): Promise<number> {
  const records: RecordText[] = [];
  let at = 0;
  for (const line of lines) {
    at++;
    if (line.trim() === '') continue;
    records.push(readLine(line, at));
  }
  return registry.restore(records);
}

function readLine(line: string, at: number): RecordText {
  try {
    const parsed = JSON.parse(line) as Json;
    if (!isObject(parsed) || !isObject(parsed['key']) || !isObject(parsed['value']))
      throw new Error('no key and value');
    return { key: JSON.stringify(parsed['key']), value: JSON.stringify(parsed['value']) };
  } catch (cause) {
    throw new FreshetError('INVALID_REQUEST', `line ${at} is no record of an export: ${(cause as Error).message}`, {
      place: `line ${at}`,
      remedy: 'give the lines as an export wrote them',
      cause,
    });
  }
}
