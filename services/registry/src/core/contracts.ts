/**
 * From definitions to contracts: which tables must be described, and what keeps them from being captured.
 *
 * Owns the questions and the judging of the answers. Does not own asking (a TableDescriber does).
 */

import { usedSources } from '@freshet/definitions/used-sources.ts';
import type { Definitions, Location, Source } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { Contract, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { PostgresTable } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** A table and how it is to be used. */
export interface TableQuestion {
  readonly source: string;
  readonly table: PostgresTable;
  readonly mode: SourceMode;
}

/** A table's live shape, or why it cannot be had. */
export interface TableAnswer {
  readonly contract: Contract | undefined;
  readonly problems: readonly FreshetError[];
  /** How many rows its database believes it has; undefined when it was never counted. */
  readonly rows?: bigint | undefined;
}

/** Reads the live shape of tables, one answer per question in order; in a running mesh by asking ingest. */
export interface TableDescriber {
  describe(questions: readonly TableQuestion[], signal: AbortSignal): Promise<readonly TableAnswer[]>;
}

/** The tables of the sources that views use or join, in the sources' order. The table of an unused source need not be there. */
export function tableQuestions(definitions: Definitions): TableQuestion[] {
  const used = usedSources(definitions);
  return definitions.sources.flatMap((source) =>
    used.has(source.name) && source.origin.case === 'postgres'
      ? [{ source: source.name, table: source.origin.value, mode: source.mode }]
      : [],
  );
}

/** An answer with the newest that any of the answers to its question tells of values that were computed anew. */
export function withNewestValues(answer: TableAnswer, all: readonly TableAnswer[]): TableAnswer {
  const { contract } = answer;
  if (contract === undefined) return answer;
  const told = all.flatMap((one) => one.contract?.columns ?? []);
  const columns = contract.columns.map((column) => {
    const { tableOid, columnNumber, valuesSinceUs } = column;
    const later = told
      .filter((one) => one.tableOid === tableOid && one.columnNumber === columnNumber && one.name === column.name)
      .map((one) => one.valuesSinceUs)
      .filter((since) => since > valuesSinceUs)
      .sort((x, y) => (x < y ? 1 : -1));
    return later[0] === undefined ? column : { ...column, valuesSinceUs: later[0] };
  });
  return { ...answer, contract: { ...contract, columns } };
}

/**
 * The contract of each source asked about. Throws the first problem, with all others beside it, each at the place where
 * its source was written.
 */
export function judgeAnswers(definitions: Definitions, answers: readonly TableAnswer[]): Map<string, Contract> {
  const questions = tableQuestions(definitions);
  assert(questions.length === answers.length, 'one answer per table asked for');
  const written = new Map(definitions.sources.map((source) => [source.name, source]));
  const contracts = new Map<string, Contract>();
  const problems: FreshetError[] = [];
  questions.forEach((question, i) => {
    const answer = answers[i];
    for (const problem of answer?.problems ?? [])
      problems.push(atSource(problem, question, written.get(question.source)));
    if (answer?.contract !== undefined) contracts.set(question.source, answer.contract);
    else if (answer?.problems.length === 0)
      problems.push(atSource(undescribed(question), question, written.get(question.source)));
  });
  const [first, ...rest] = problems;
  if (first === undefined) return contracts;
  throw new FreshetError(first.code, first.message, { remedy: first.remedy, place: first.place, also: rest });
}

function atSource(problem: FreshetError, question: TableQuestion, source: Source | undefined): FreshetError {
  const written = placeOf(source?.location);
  return new FreshetError(problem.code, `source ${question.source}: ${problem.message}`, {
    remedy: problem.remedy,
    place: written === '' ? problem.place : written,
    also: problem.also,
  });
}

function undescribed({ table }: TableQuestion): FreshetError {
  return new FreshetError('SOURCE_NOT_READY', `the table ${table.schema}.${table.table} cannot be read`, {
    remedy: `check that it exists in the database "${table.database}" and that ingest's user may SELECT from it`,
  });
}

/** "features.yaml:12:3"; empty when it is not known. */
export function placeOf(location: Location | undefined): string {
  if (location === undefined || location.file === '') return '';
  return location.line === 0 ? location.file : `${location.file}:${location.line}:${location.column}`;
}
