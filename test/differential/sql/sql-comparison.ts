/**
 * Holds the engine's rows against SQL over the same history: at random prefixes, at random times, for every user and
 * feature. Owns the comparison; the history is dml-history.ts, the SQL sql-features.ts.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { EngineUnderTest } from '@freshet/testkit/differential/engine-under-test.ts';
import type { Scenario, ScenarioKey } from '@freshet/testkit/generate/scenario.ts';
import { oracleValue } from '@freshet/testkit/oracle/oracle.ts';
import { encodeKey } from '@freshet/values/key.ts';
import fc from 'fast-check';
import { type DmlHistory, type KnownImage, type Statement, statements, tell } from './dml-history.ts';
import { definitionsUnderTest, difference, exportStatements, type SqlEngine, viewQuery } from './sql-features.ts';

export interface SqlRun {
  readonly mode: 'append' | 'mutable';
  readonly list: readonly Statement[];
  /** Where the history is looked at, as shares of it, and how many seconds after the last record's log time. */
  readonly probes: readonly { readonly at: number; readonly afterS: number }[];
  readonly cacheBytes: number;
}

/** Random histories of sources of a mode. */
export function sqlRuns(mode: 'append' | 'mutable'): fc.Arbitrary<SqlRun> {
  return fc.record({
    mode: fc.constant(mode),
    list: statements(mode),
    probes: fc.array(fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), afterS: fc.nat(45) }), {
      minLength: 1,
      maxLength: 3,
    }),
    cacheBytes: fc.constantFrom(0, 1_000_000),
  });
}

const USERS = [1n, 2n, 3n, 4n];

/**
 * Folds the history and asks; throws at the first value that is another one. Returns how many values were compared. `imagesOf`:
 * what SQL is told of the history; by default what the history says itself.
 */
export async function compareWithSql(
  engine: SqlEngine,
  { mode, list, probes, cacheBytes }: SqlRun,
  imagesOf: (history: DmlHistory) => Promise<readonly KnownImage[]> | readonly KnownImage[] = ({ images }) => images,
): Promise<number> {
  const definitions = definitionsUnderTest(mode);
  const history = tell(list, definitions, mode);
  const { records, cuts } = history;
  const images = await imagesOf(history);
  const scenario: Scenario = {
    unitUs: 1,
    baseUs: 0,
    records,
    twins: new Map(),
    views: definitions.views,
    keys: new Map(),
  };
  for (const statement of exportStatements(images)) await engine.run(statement);
  const subject = new EngineUnderTest(scenario, { cacheBytes });
  let compared = 0;
  for (const { at, afterS } of [...probes].sort((a, b) => a.at - b.at)) {
    const position = must(cuts[Math.min(cuts.length - 1, Math.floor(at * cuts.length))]);
    subject.foldNext(Math.max(0, position - subject.fold.position));
    subject.commit();
    const tUs = BigInt(must(records[position - 1]).logTimeUs) + BigInt(afterS) * 1_000_000n;
    for (const view of definitions.views) {
      const answers = await engine.run(viewQuery(view.name, view.features, position, tUs));
      const byUser = new Map(answers.map((row) => [String(row['user_id']), row]));
      for (const user of USERS) {
        const key: ScenarioKey = { values: [user], bytes: encodeKey([Kind.INT64], [user]) };
        const row = subject.rowView(view, key)?.answersAt(tUs);
        view.features.forEach((feature, i) => {
          const parts = byUser.get(String(user))?.[`f${i}`] as string | undefined;
          const actual = row?.[i] ?? oracleValue(feature, [], tUs);
          const wrong = difference(feature, parts, actual);
          compared += 1;
          if (wrong === undefined) return;
          throw new Error(`${view.name}:${feature.name} of user ${user} at ${tUs} after ${position} records ${wrong}`);
        });
      }
    }
  }
  return compared;
}
