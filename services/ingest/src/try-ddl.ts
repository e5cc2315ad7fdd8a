/**
 * A process of its own that tries a DDL against a database and ends, for `freshet contract check --database`: only ingest can
 * speak to databases. It reads one JSON object from stdin, where nobody else on the machine sees the URL, and prints one line
 * of JSON: {"before": [Contract], "after": GivenContracts}, or {"error": {code, message, remedy, place}}.
 */
import { text } from 'node:stream/consumers';
import { toJson } from '@bufbuild/protobuf';
import { GivenContractsSchema } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { ContractSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { runMain } from '@freshet/kit/main.ts';
import { OPTIONS } from './config.ts';
import { parseConnectionUrl } from './io/pg/connection-url.ts';
import { type TriedTable, tryDdl } from './io/try-ddl.ts';

interface Question {
  readonly url: string;
  readonly ddl: string;
  readonly tables: readonly TriedTable[];
  readonly lockMsMax: number;
  readonly statementMsMax: number;
}

async function answer(signal: AbortSignal): Promise<unknown> {
  try {
    const { url, ...question } = JSON.parse(await text(process.stdin)) as Question;
    const { before, after } = await tryDdl({ ...question, target: parseConnectionUrl(url) }, signal);
    return {
      before: before.map((contract) => toJson(ContractSchema, contract)),
      after: toJson(GivenContractsSchema, after),
    };
  } catch (error) {
    if (!isFreshetError(error)) throw error;
    const { code, message, remedy, place } = error;
    return { error: { code, message, remedy, place } };
  }
}

if (import.meta.main) {
  await runMain({
    name: 'ingest',
    about: 'tries a DDL in a transaction that is rolled back, once',
    options: { logLevel: OPTIONS.logLevel },
    start: async (_config, { signal }) => {
      const line = `${JSON.stringify(await answer(signal))}\n`;
      await new Promise((written) => process.stdout.write(line, written));
      process.exit(0);
    },
  });
}
