/**
 * A process of its own that prints the diagnosis of the databases and ends: what IngestService.DiagnoseSources says, as
 * Protobuf's JSON on one line of stdout. For `freshet doctor` when no ingest runs; takes the options of ingest that say
 * which databases there are, and the request as a file. Logs go to stderr, as everywhere.
 */
import { readFileSync } from 'node:fs';
import { create, fromJsonString, toJson } from '@bufbuild/protobuf';
import {
  type DiagnoseSourcesRequest,
  DiagnoseSourcesRequestSchema,
  DiagnoseSourcesResponseSchema,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { PostgresTable } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { runMain } from '@freshet/kit/main.ts';
import { OPTIONS } from './config.ts';
import { type DatabaseToDiagnose, diagnoseDatabases } from './io/diagnose.ts';
import { parseConnectionUrl } from './io/pg/connection-url.ts';
import { askedOf } from './rpc/diagnose-sources.ts';

const DIAGNOSE_OPTIONS = {
  postgres: OPTIONS.postgres,
  slotName: OPTIONS.slotName,
  logLevel: OPTIONS.logLevel,
  request: {
    description: 'a file with what is asked: a DiagnoseSourcesRequest as Protobuf’s JSON',
    form: 'file',
    parse: (path: string): DiagnoseSourcesRequest =>
      fromJsonString(DiagnoseSourcesRequestSchema, readFileSync(path, 'utf8')),
  },
} as const;

/** The databases of ingest's configuration, as its sources name their slots. */
export function databasesToDiagnose(
  config: {
    readonly postgres: readonly { readonly name: string; readonly url: string }[];
    readonly slotName: string;
  },
  tables: readonly PostgresTable[],
): DatabaseToDiagnose[] {
  return config.postgres.map(({ name, url }) => ({
    name,
    target: parseConnectionUrl(url),
    slotName: `${config.slotName}_${name}`,
    tables: tables.filter(({ database }) => database === name),
  }));
}

if (import.meta.main) {
  await runMain({
    name: 'ingest',
    about: 'says what the databases offer, once',
    options: DIAGNOSE_OPTIONS,
    start: async (config, { signal }) => {
      const { patienceMs, tables } = askedOf(config.request);
      const databases = await diagnoseDatabases(databasesToDiagnose(config, tables), {
        patienceMs,
        clock: systemClock,
        signal,
      });
      const answer = create(DiagnoseSourcesResponseSchema, { databases });
      const line = `${JSON.stringify(toJson(DiagnoseSourcesResponseSchema, answer))}\n`;
      await new Promise((written) => process.stdout.write(line, written));
      process.exit(0);
    },
  });
}
