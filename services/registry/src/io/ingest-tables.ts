/**
 * Asks the live ingest nodes for the shape of tables. Owns whose answer counts and the calls; the judging is core/contracts.ts.
 * With several nodes, the first that answers is as good as any, as all read the same catalogue; but which values of a table were
 * computed anew since it is captured knows only the one that captures it, whichever that is, so all are asked.
 */

import { IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type Node, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { fromErrorDetail } from '@freshet/kit/grpc/error-mapping.ts';
import { type TableAnswer, type TableDescriber, type TableQuestion, withNewestValues } from '../core/contracts.ts';

/** A catalogue query takes milliseconds; connecting to a far database takes seconds. */
const DEADLINE_MS = 20_000;

export class IngestTables implements TableDescriber {
  readonly #nodesOf: (role: Role) => readonly Node[];

  constructor(nodesOf: (role: Role) => readonly Node[]) {
    this.#nodesOf = nodesOf;
  }

  async describe(questions: readonly TableQuestion[], signal: AbortSignal): Promise<readonly TableAnswer[]> {
    const nodes = this.#nodesOf(Role.INGEST);
    const asked = await Promise.allSettled(nodes.map(({ address }) => ask(address, questions, signal)));
    let failure: FreshetError | undefined;
    for (const answer of asked) {
      if (answer.status === 'fulfilled') {
        const all = asked.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
        return answer.value.map((of, i) =>
          withNewestValues(
            of,
            all.map((answers) => must(answers[i])),
          ),
        );
      }
      const error: unknown = answer.reason;
      if (!isFreshetError(error, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw error;
      failure = error;
    }
    if (failure !== undefined) {
      throw new FreshetError('UNAVAILABLE', `no ingest node answers: ${failure.message}`, {
        remedy: 'see its log; it describes the tables that definitions are planned against',
        place: nodes.map((node) => node.address).join(', '),
        cause: failure,
      });
    }
    throw new FreshetError(
      'UNAVAILABLE',
      'no ingest node has announced itself, and the tables cannot be described without one',
      {
        remedy: "start ingest with --registry pointing at this registry; 'freshet status' shows which nodes are there",
      },
    );
  }
}

async function ask(address: string, questions: readonly TableQuestion[], signal: AbortSignal): Promise<TableAnswer[]> {
  const client = createGrpcClient(IngestService, address, { deadlineMs: DEADLINE_MS });
  try {
    const { tables } = await client.describeTables({ tables: [...questions] }, { signal });
    if (tables.length !== questions.length) {
      throw new FreshetError('INTERNAL', `ingest described ${tables.length} tables of ${questions.length}`);
    }
    return tables.map(({ contract, problems, rows }) => ({
      contract,
      rows,
      problems: problems.map((problem) => fromErrorDetail(problem)),
    }));
  } finally {
    client.close();
  }
}
