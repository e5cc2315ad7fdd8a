/** For differential tests: what a serve node reads that has everything an engine has, without disk or network. */
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { buildCatalog } from '@freshet/replica/catalog.ts';
import { toLatin1 } from '@freshet/replica/latin1.ts';
import { rowKeyOfText } from '@freshet/replica/row-key.ts';
import { RowReader } from '@freshet/replica/row-reader.ts';
import { ViewTable } from '@freshet/replica/view-table.ts';
import type { EngineUnderTest } from '@freshet/testkit/differential/engine-under-test.ts';
import type { Scenario } from '@freshet/testkit/generate/scenario.ts';
import { keyString } from '@freshet/values/key.ts';
import type { FeatureSource } from '../../services/serve/src/core/get-features.ts';

/** What a replica of one shard holds that has everything the engine has. */
export function replicaOf(engine: EngineUnderTest, scenario: Scenario, definitions: DefinitionSet): FeatureSource {
  const tables = new Map<string, ViewTable[]>();
  engine.fold.completeViews().forEach((viewId, number) => {
    const table = new ViewTable(viewId, number);
    table.whole = true;
    tables.set(viewId, [table]);
    for (const key of [...scenario.keys.values()].flat()) {
      const text = keyString(key.bytes);
      const row = engine.fold.row(viewId, text);
      if (row !== undefined) table.put(rowKeyOfText(text), row.version, toLatin1(row.bytes));
    }
  });
  return { catalog: buildCatalog([definitions], (id) => tables.get(id), 1), reader: new RowReader(), definitions };
}
