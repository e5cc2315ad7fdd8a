/**
 * Asks a live ingest node for the shape of tables. Owns the choice of the node and the call; the judging is
 * core/contracts.ts. With several ingest nodes, the first that answers is as good as any: all read the same catalogue.
 */

import { IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type Node, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { fromErrorDetail } from '@freshet/kit/grpc/error-mapping.ts';
import type { TableAnswer, TableDescriber, TableQuestion } from '../core/contracts.ts';

/** A catalogue query takes milliseconds; connecting to a far database takes seconds. */
const DEADLINE_MS = 20_000;

export class IngestTables implements TableDescriber {
  readonly #nodesOf: (role: Role) => readonly Node[];

  constructor(nodesOf: (role: Role) => readonly Node[]) {
    this.#nodesOf = nodesOf;
  }

  async describe(questions: readonly TableQuestion[], signal: AbortSignal): Promise<readonly TableAnswer[]> {
    const nodes = this.#nodesOf(Role.INGEST);
    let failure: FreshetError | undefined;
    for (const node of nodes) {
      try {
        return await ask(node.address, questions, signal);
      } catch (error) {
        if (!isFreshetError(error, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw error;
        failure = error;
      }
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
