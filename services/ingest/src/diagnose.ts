/**
 * A process of its own that prints the diagnosis of the databases and ends: what IngestService.DiagnoseSources says, as
 * Protobuf's JSON on one line of stdout. For `freshet doctor` when no ingest runs; takes the options of ingest that say
 * which databases there are. Logs go to stderr, as everywhere.
 */
import { create, toJson } from '@bufbuild/protobuf';
import { DiagnoseSourcesResponseSchema } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { parsers } from '@freshet/kit/config.ts';
import { runMain } from '@freshet/kit/main.ts';
import { OPTIONS } from './config.ts';
import { type DatabaseToDiagnose, diagnoseDatabases } from './io/diagnose.ts';
import { parseConnectionUrl } from './io/pg/connection-url.ts';

const DIAGNOSE_OPTIONS = {
  postgres: OPTIONS.postgres,
  slotName: OPTIONS.slotName,
  logLevel: OPTIONS.logLevel,
  patience: {
    description: 'how long to wait for each database',
    form: 'duration',
    parse: parsers.milliseconds,
    fallback: '5s',
  },
} as const;

/** The databases of ingest's configuration, as its sources name their slots. */
export function databasesToDiagnose(config: {
  readonly postgres: readonly { readonly name: string; readonly url: string }[];
  readonly slotName: string;
}): DatabaseToDiagnose[] {
  return config.postgres.map(({ name, url }) => ({
    name,
    target: parseConnectionUrl(url),
    slotName: `${config.slotName}_${name}`,
  }));
}

if (import.meta.main) {
  await runMain({
    name: 'ingest',
    about: 'says what the databases offer, once',
    options: DIAGNOSE_OPTIONS,
    start: async (config, { signal }) => {
      const { patience: patienceMs } = config;
      const databases = await diagnoseDatabases(databasesToDiagnose(config), {
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
