/** IngestService.DescribeTables: the live shape of tables, and what would keep them from being captured. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { DescribeTablesRequest, DescribeTablesResponseSchema } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { Contract, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';
import { toErrorDetail } from '@freshet/kit/grpc/error-mapping.ts';

/** Whoever can describe tables: io/table-describer.ts. */
export type DescribeTables = (
  questions: readonly { source: string; database: string; schema: string; table: string; mode: SourceMode }[],
  signal: AbortSignal,
) => Promise<
  readonly { contract: Contract | undefined; problems: readonly FreshetError[]; rows?: bigint | undefined }[]
>;

/** The handler. */
export function describeTables(
  describe: DescribeTables,
): (
  request: DescribeTablesRequest,
  context: { readonly signal: AbortSignal },
) => Promise<MessageInitShape<typeof DescribeTablesResponseSchema>> {
  return async (request, { signal }) => {
    const questions = request.tables.map(({ source, table, mode }) => {
      const { database, schema, table: name } = must(table, 'validated: a table is required');
      return { source, database, schema: schema || 'public', table: name, mode };
    });
    const answers = await describe(questions, signal);
    return {
      tables: answers.map(({ contract, problems, rows }) => ({
        ...(contract === undefined ? {} : { contract }),
        ...(rows === undefined ? {} : { rows }),
        problems: problems.map(toErrorDetail),
      })),
    };
  };
}
