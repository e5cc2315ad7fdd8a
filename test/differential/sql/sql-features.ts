/**
 * Features as SQL over the images of a history: what a value is (docs/values.md), said once more in another language and
 * computed by somebody else's engine. The SQL is what Postgres and DuckDB have in common.
 *
 * Owns the definitions under test, their SQL, and how its answers are compared. Sums and extremes of integers and decimals,
 * counts, the last value, means and variances of integers and decimals are compared exactly: a mean or variance is
 * computed from exact sums by the database and rounded once here. Of doubles the database adds up as it reads them, so these are compared
 * within a billionth of the sum of their sizes.
 */
import { create } from '@bufbuild/protobuf';
import { parseDefinitions } from '@freshet/definitions/parse.ts';
import { resolveDefinitions } from '@freshet/definitions/resolve.ts';
import { ContractSchema, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet, FeaturePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { decimalUnits, divideExact, roundToDouble } from '@freshet/testkit/oracle/exact.ts';
import { floorTo, type OracleAnswer } from '@freshet/testkit/oracle/oracle.ts';
import { COLUMNS, type KnownImage } from './dml-history.ts';

/** Whoever runs the SQL. */
export interface SqlEngine {
  /** Each row by column name; numbers that must not be rounded come as text. */
  run(sql: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
}

const WINDOWS = ['', ', rolling: 30s, pane: 5s', ', tumbling: 20s', ', tumbling: 20s, closed: true'];
const AGGREGATES = [
  ['count: {}', 'rows'],
  ['count: n', 'n'],
  ['sum: n', 'sum_n'],
  ['sum: d', 'sum_d'],
  ['sum: x', 'sum_x'],
  ['mean: n', 'mean_n'],
  ['mean: d', 'mean_d'],
  ['mean: x', 'mean_x'],
  ['min: n', 'min_n'],
  ['max: d', 'max_d'],
  ['max: x', 'max_x'],
  ['min: s', 'min_s'],
  ['last: n', 'last_n'],
  ['last: s', 'last_s'],
  ['variance: n', 'var_n'],
  ['variance_pop: d', 'var_d'],
] as const;

/** The conditions of the views, in CEL and in SQL; a comparison with null is not true in either. */
const VIEWS = [
  { name: 'everything', cel: '', sql: 'TRUE' },
  { name: 'positive', cel: 'n > 0', sql: 'n > 0' },
  { name: 'some', cel: 's == "a" || s == "b"', sql: "s IN ('a', 'b')" },
] as const;

/** The definitions under test, resolved, over a source of that mode. */
export function definitionsUnderTest(mode: 'append' | 'mutable'): DefinitionSet {
  const features = WINDOWS.flatMap((window, w) =>
    AGGREGATES.map(([aggregate, name]) => `  ${name}_${w}: { ${aggregate}${window} }`),
  );
  const views = VIEWS.map(
    ({ name, cel }) => `
---
kind: FeatureView
name: ${name}
entity: user
source: rows
${cel === '' ? '' : `where: '${cel}'\n`}features:
${features.join('\n')}
`,
  );
  const text = `
kind: Entity
name: user
key: { user_id: int64 }
---
kind: Source
name: rows
mode: append
postgres: { table: public.rows }
event_time: at
${views.join('')}
---
kind: FeatureService
name: all
features: [${VIEWS.map(({ name }) => `"${name}:*"`).join(', ')}]
`;
  const contract = create(ContractSchema, {
    source: 'rows',
    version: 1,
    primaryKey: ['id'],
    columns: COLUMNS.map(({ name, kind }) => ({
      name,
      type: { kind },
      nullable: !['id', 'user_id', 'at'].includes(name),
    })),
  });
  const definitions = parseDefinitions([{ path: 'sql.yaml', text }]);
  const { resolved } = resolveDefinitions({
    definitions,
    contracts: new Map([['rows', contract]]),
    previous: undefined,
  });
  if (mode === 'append') return resolved;
  for (const view of resolved.views) view.mode = SourceMode.MUTABLE;
  for (const { source } of resolved.routes) if (source !== undefined) source.mode = SourceMode.MUTABLE;
  return resolved;
}

const LITERALS = 500;

/** Statements that make the table `images` and fill it. */
export function exportStatements(images: readonly KnownImage[]): string[] {
  const columns = COLUMNS.map(({ name, sql }) => `${name === 'at' ? 'event_us' : name} ${sql}`).join(', ');
  const statements = [
    'DROP TABLE IF EXISTS images',
    `CREATE TABLE images (log_offset BIGINT, known_row BIGINT, is_gone BOOLEAN, ${columns})`,
  ];
  for (let at = 0; at < images.length; at += LITERALS) {
    const rows = images.slice(at, at + LITERALS).map(literalRow);
    statements.push(`INSERT INTO images VALUES ${rows.join(', ')}`);
  }
  return statements;
}

function literalRow({ off, row, image }: KnownImage): string {
  const values = COLUMNS.map(({ name }) => {
    const value = image?.[name] ?? null;
    return value === null ? 'NULL' : typeof value === 'string' ? `'${value}'` : String(value);
  });
  return `(${off}, ${row}, ${image === undefined}, ${values.join(', ')})`;
}

/** What the features of a view are made of, for every user, from the records before a position, at a time. */
export function viewQuery(view: string, features: readonly FeaturePlan[], position: number, tUs: bigint): string {
  const condition = must(VIEWS.find(({ name }) => name === view)).sql;
  const columns = features.map((feature, i) => `${partsOf(feature, tUs)} AS f${i}`);
  return `
WITH newest AS (
  SELECT images.*, row_number() OVER (PARTITION BY known_row ORDER BY log_offset DESC) AS newest_first FROM images WHERE log_offset < ${position}
), live AS (SELECT * FROM newest WHERE newest_first = 1 AND NOT is_gone AND (${condition}))
SELECT CAST(user_id AS VARCHAR) AS user_id, ${columns.join(', ')} FROM live GROUP BY user_id`;
}

/** One text of all numbers that the feature's value is computed from, separated by bars; an empty one is null. */
function partsOf({ aggregate, input, window }: FeaturePlan, tUs: bigint): string {
  const rows = `FILTER (WHERE ${windowCondition(window, tUs)})`;
  const text = (expression: string): string => `COALESCE(CAST(${expression} AS VARCHAR), '~')`;
  switch (aggregate) {
    case 'count':
      return text(`count(${input === '' ? '*' : input}) ${rows}`);
    case 'sum':
    case 'mean':
    case 'variance':
    case 'variance_pop':
      return [`count(${input})`, `sum(${input})`, `sum(${input} * ${input})`, `sum(abs(${input}))`]
        .map((expression) => text(`${expression} ${rows}`))
        .join(" || '|' || ");
    case 'last': {
      const known = `FILTER (WHERE ${windowCondition(window, tUs)} AND ${input} IS NOT NULL)`;
      return text(`(array_agg(${input} ORDER BY event_us DESC, log_offset DESC) ${known})[1]`);
    }
    default:
      return text(`${aggregate}(${input}) ${rows}`);
  }
}

function windowCondition(window: FeaturePlan['window'], tUs: bigint): string {
  const kind = window?.kind;
  if (kind?.case === 'rolling') return `event_us >= ${floorTo(tUs - kind.value.lengthUs, kind.value.paneUs)}`;
  if (kind?.case !== 'tumbling') return 'TRUE';
  const { lengthUs, closed } = kind.value;
  const from = floorTo(tUs, lengthUs) - (closed ? lengthUs : 0n);
  return `event_us >= ${from} AND event_us < ${from + lengthUs}`;
}

/** What is wrong about an answer, in words; undefined: nothing. `parts`: the query's text, undefined for a user it does not have. */
export function difference(feature: FeaturePlan, parts: string | undefined, answer: OracleAnswer): string | undefined {
  const { aggregate, inputType } = feature;
  const isAbsent = answer.status === ValueStatus.ABSENT;
  const wrong = (expected: unknown): string =>
    `is ${isAbsent ? 'ABSENT' : String(answer.value)}, SQL says ${String(expected)}`;
  if (aggregate === 'count') return answer.value === BigInt(parts ?? 0) ? undefined : wrong(parts ?? 0);
  const [first = '~', sum = '~', squares = '~', sizes = '~'] = (parts ?? '~').split('|');
  const isSummed = ['sum', 'mean', 'variance', 'variance_pop'].includes(aggregate);
  if (!isSummed) {
    if (first === '~') return isAbsent ? undefined : wrong('nothing');
    return !isAbsent && isSame(inputType?.kind, first, answer) ? undefined : wrong(first);
  }
  const count = first === '~' ? 0n : BigInt(first);
  if (count <= (aggregate === 'variance' ? 1n : 0n)) return isAbsent ? undefined : wrong('nothing');
  if (isAbsent) return wrong(sum);
  if (inputType?.kind === Kind.DOUBLE) {
    const expected = aggregate === 'sum' ? Number(sum) : Number(sum) / Number(count);
    return Math.abs(Number(answer.value) - expected) <= 1e-9 * Number(sizes) ? undefined : wrong(expected);
  }
  if (aggregate === 'sum') return isSame(inputType?.kind, sum, answer) ? undefined : wrong(sum);
  const scale = 2;
  const total = unitsOf(sum, scale);
  const perOne = 10n ** BigInt(scale);
  if (aggregate === 'mean') {
    const expected = roundToDouble(divideExact({ numerator: total, denominator: perOne }, count)) + 0;
    return answer.value === expected ? undefined : wrong(expected);
  }
  const spread = count * unitsOf(squares, 2 * scale) - total * total;
  const divisor = count * (aggregate === 'variance' ? count - 1n : count);
  const expected = roundToDouble({ numerator: spread, denominator: divisor * perOne * perOne });
  return answer.value === expected ? undefined : wrong(expected);
}

/** A number's text in units of 10^-scale; what a database writes beyond that are zeros. */
function unitsOf(text: string, scale: number): bigint {
  const [whole = '', fraction = ''] = text.split('.');
  return decimalUnits(fraction === '' ? whole : `${whole}.${fraction.slice(0, scale)}`, scale);
}

/** Equal values; of decimals equal numbers, because a column of a database has one scale and a sum in Freshet the greatest seen. */
function isSame(kind: Kind | undefined, text: string, { value }: OracleAnswer): boolean {
  if (kind === Kind.DECIMAL) return unitsOf(text, 2) === unitsOf(String(value), 2);
  if (kind === Kind.DOUBLE) return Number(text) === value;
  return String(value) === text;
}
