/**
 * plan and apply of a thousand views: the definitions' keeper on LevelDB in this process, without the network and without a
 * database, whose answers are the same every time. Against: parsing and resolving alone.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { create } from '@bufbuild/protobuf';
import { Lineage } from '@freshet/definitions/lineage.ts';
import { parseDefinitions } from '@freshet/definitions/parse.ts';
import { resolveDefinitions } from '@freshet/definitions/resolve.ts';
import { ContractSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { DefinitionKeeper } from '../services/registry/src/core/definition-keeper.ts';
import { RegistryStore } from '../services/registry/src/io/registry-store.ts';
import type { BenchResult } from './main.ts';
import { median } from './statistics.ts';

const VIEWS = 1_000;
const FEATURES = 10;
const SOURCES = 50;

function definitionsText(change: string): string {
  const sources = Array.from(
    { length: SOURCES },
    (_, i) => `kind: Source\nname: s${i}\nmode: append\npostgres: { table: public.t${i} }\nevent_time: at\n`,
  );
  const views = Array.from({ length: VIEWS }, (_, i) => {
    const features = Array.from({ length: FEATURES }, (_f, f) => `  f${f}: { sum: cents, rolling: ${f + 1}h }`);
    const where = `kind == "${i}${i % 100 === 0 ? change : ''}"`;
    return `kind: FeatureView\nname: v${i}\nentity: user\nsource: s${i % SOURCES}\nwhere: ${where}\nderived:\n  cents: int(amount * 100.0)\nfeatures:\n${features.join('\n')}\n`;
  });
  const services = Array.from(
    { length: VIEWS / 10 },
    (_, i) =>
      `kind: FeatureService\nname: m${i}\nfeatures: [${Array.from({ length: 10 }, (_v, v) => `v${i * 10 + v}:*`).join(', ')}]\n`,
  );
  return ['kind: Entity\nname: user\nkey: { user_id: int64 }\n', ...sources, ...views, ...services].join('---\n');
}

const contractOf = (source: string) =>
  create(ContractSchema, {
    source,
    version: 1,
    columns: [
      { name: 'user_id', type: { kind: Kind.INT64 } },
      { name: 'kind', type: { kind: Kind.STRING } },
      { name: 'amount', type: { kind: Kind.DOUBLE } },
      { name: 'at', type: { kind: Kind.TIMESTAMP } },
    ],
  });

type Times = Record<'parse' | 'resolve' | 'firstPlan' | 'firstApply' | 'planOfTen' | 'applyOfTen' | 'lineage', number>;

async function oneRun(): Promise<Times> {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-bench-plan-'));
  const store = await RegistryStore.open(levelStores, directory);
  const { signal } = new AbortController();
  try {
    const keeper = await DefinitionKeeper.open({
      store,
      tables: {
        describe: async (questions) =>
          questions.map(({ source }) => ({ contract: contractOf(source), problems: [], rows: 1_000_000n })),
      },
      clock: systemClock,
      log: silentLogger,
      conditions: new ConditionBoard({ clock: systemClock, log: silentLogger }),
    });
    const times: Partial<Times> = {};
    const timed = async <T>(name: keyof Times, work: () => T | Promise<T>): Promise<T> => {
      const before = performance.now();
      const result = await work();
      times[name] = performance.now() - before;
      return result;
    };
    const text = definitionsText('');
    const first = await timed('parse', () => parseDefinitions([{ path: 'f.yaml', text }]));
    const second = parseDefinitions([{ path: 'f.yaml', text: definitionsText('x') }]);
    const contracts = new Map(first.sources.map(({ name }) => [name, contractOf(name)]));
    await timed('resolve', () => resolveDefinitions({ definitions: first, contracts, previous: undefined }));
    const plan = await timed('firstPlan', () => keeper.plan(first, signal));
    await timed('firstApply', () => keeper.apply(first, plan.hash, { peer: 'bench' }, signal));
    const change = await timed('planOfTen', () => keeper.plan(second, signal));
    await timed('applyOfTen', () => keeper.apply(second, change.hash, { peer: 'bench' }, signal));
    const { resolved, written } = keeper.current;
    if (resolved === undefined) throw new Error('nothing is in force');
    await timed('lineage', () => new Lineage(resolved, written));
    return times as Times;
  } finally {
    await store.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Milliseconds, medians. */
export async function benchPlan(runs: number): Promise<BenchResult> {
  const all: Times[] = [];
  for (let i = 0; i < runs; i++) all.push(await oneRun());
  const ms = (name: keyof Times): number => Math.round(median(all.map((times) => times[name])));
  return {
    views: VIEWS,
    features: VIEWS * FEATURES,
    parse_ms: ms('parse'),
    resolve_ms: ms('resolve'),
    first_plan_ms: ms('firstPlan'),
    first_apply_ms: ms('firstApply'),
    plan_of_ten_changed_ms: ms('planOfTen'),
    apply_of_ten_changed_ms: ms('applyOfTen'),
    lineage_graph_ms: ms('lineage'),
  };
}
