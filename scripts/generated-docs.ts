/** The pages of docs/ that are made from tables in the code, so that they cannot say anything else. */
import { globSync, readFileSync } from 'node:fs';
import { basename, join, sep } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { GetComputeStatusResponseSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { GetIngestStatusResponseSchema, IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { GetRegistryStatusResponseSchema } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { GetServeStatusResponseSchema } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { envOf, flagOf, type OptionTable } from '@freshet/kit/config.ts';
import { ERROR_CODES } from '@freshet/kit/error-codes.ts';
import { CallCounts } from '@freshet/kit/metrics/call-counts.ts';
import { conditionMetrics } from '@freshet/kit/metrics/condition-metrics.ts';
import type { MetricFamily } from '@freshet/kit/metrics/exposition.ts';
import { watchProcess } from '@freshet/kit/metrics/process-metrics.ts';
import { OPTIONS as COMPUTE } from '../services/compute/src/config.ts';
import { computeMetrics } from '../services/compute/src/core/metrics.ts';
import { OPTIONS as INGEST } from '../services/ingest/src/config.ts';
import { ingestMetrics } from '../services/ingest/src/core/metrics.ts';
import { OPTIONS as REGISTRY } from '../services/registry/src/config.ts';
import { registryMetrics } from '../services/registry/src/core/metrics.ts';
import { OPTIONS as SERVE } from '../services/serve/src/config.ts';
import { serveMetrics } from '../services/serve/src/core/metrics.ts';
import { INVARIANTS } from '../test/tidy/invariants.ts';

export interface GeneratedDoc {
  /** Relative to the repository. */
  readonly path: string;
  readonly text: string;
}

export function generatedDocs(): GeneratedDoc[] {
  return [
    { path: 'docs/errors.md', text: errorsPage() },
    { path: 'docs/invariants.md', text: invariantsPage() },
    { path: 'docs/metrics.md', text: metricsPage() },
    { path: 'docs/options.md', text: optionsPage() },
  ];
}

/** Which files of what runs assert an invariant by its id: `assert(…, 'F3: …')`. */
function assertedInvariants(): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  const root = join(import.meta.dirname, '..');
  const files = globSync('{packages,services}/*/src/**/*.ts', { cwd: root })
    .map((path) => path.replaceAll(sep, '/'))
    .filter((path) => !/\.(test|testing|program|bench)\.ts$|\/testing\/|^packages\/testkit\//.test(path))
    .sort();
  for (const path of files) {
    const text = readFileSync(join(root, path), 'utf8');
    for (const [, id = ''] of text.matchAll(/\bassert\([^;]*?['"`]([FLRIC]\d): /g)) {
      found.set(id, (found.get(id) ?? new Set()).add(path));
    }
  }
  return found;
}

function invariantsPage(): string {
  const asserted = assertedInvariants();
  const rows = INVARIANTS.map(({ id, text }) => {
    const files = [...(asserted.get(id) ?? [])].map((path) => `[${basename(path)}](../${path})`);
    return `| ${id} | ${text} | ${files.join(', ')} |`;
  });
  return [
    '# Invariants',
    '',
    '<!-- Generated from test/tidy/invariants.ts by npm run generate. -->',
    '',
    'What must always hold. `test/tidy` fails when one has no test that names it, and when a test names one that is not here.',
    'To find the tests of one: `grep -rn "F1" --include=*.test.ts .`',
    '',
    'Where our own code could break one, and it can be seen at run time, an assertion names it too: the last column has the files.',
    'What input or the world can break is checked as well, and is an [error](errors.md) instead.',
    '',
    '| Id | What holds | Asserted in |',
    '|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}

function optionsPage(): string {
  const services = { ingest: INGEST, compute: COMPUTE, serve: SERVE, registry: REGISTRY } as const satisfies Record<
    string,
    OptionTable
  >;
  const sections = Object.entries(services).flatMap(([name, table]) => [
    `## ${name}`,
    '',
    '| Option | Variable | Value | Default | What it is |',
    '|---|---|---|---|---|',
    ...Object.entries(table as OptionTable).map(([key, option]) => {
      const fallback =
        typeof option.fallback === 'string'
          ? `\`${option.fallback}\``
          : option.fallback === null || option.many
            ? ''
            : 'must be given';
      return `| \`--${flagOf(key)}\` | \`${envOf(key)}\` | ${option.form} | ${fallback} | ${option.description}${option.many ? '; may be repeated' : ''} |`;
    }),
    '',
  ]);
  return [
    '# Options of the services',
    '',
    "<!-- Generated from the services' src/config.ts by npm run generate. -->",
    '',
    'Each service is a process: `node services/<name>/src/main.ts --help` prints the same. An unknown option, an unknown',
    '`FRESHET_` variable or an unreadable value stops it before it does anything, with exit code 78. In the file of',
    '`freshet up`, options stand below the name of the service, without the dashes; those by which its services find each',
    'other (`listen`, `http-listen`, `registry`, `log`, `partitions`, `postgres`) are told by `host:`, `ports:`, `partitions:`',
    'and `postgres:` at its top.',
    '',
    ...sections,
  ].join('\n');
}

/** The metrics by service, each with one series at least where that can be, for the names of its labels. */
function metricsByService(): Readonly<Record<string, readonly MetricFamily[]>> {
  const conditions = [{ id: '', code: '' }];
  const none = (): number => 0;
  const calls = new CallCounts();
  calls.of(IngestService.method.getIngestStatus).ok += 1;
  const ingest = create(GetIngestStatusResponseSchema, {
    conditions,
    sources: [{ snapshot: {} }],
    partitions: [{}],
  });
  const compute = create(GetComputeStatusResponseSchema, { conditions, shards: [{}] });
  const serve = create(GetServeStatusResponseSchema, {
    conditions,
    shards: [{ completeThroughUs: 1n }],
    onDemand: [{}],
  });
  const registry = create(GetRegistryStatusResponseSchema, { conditions });
  const ofAll = [...conditionMetrics(ingest.conditions), calls.metrics(), ...watchProcess(AbortSignal.abort())()];
  const names = new Set(ofAll.map(({ name }) => name));
  const own = (all: readonly MetricFamily[]): MetricFamily[] => all.filter(({ name }) => !names.has(name));
  const kept = { numbers: [0], repairs: none, restores: none, checkpoints: () => [], scrubbedAtUs: none };
  return {
    'Every service': ofAll,
    ingest: own(ingestMetrics(ingest, { logDamage: 0, logScrubbedUs: undefined, quarantineDamage: 0 })),
    compute: own(computeMetrics(compute, kept)),
    serve: own(serveMetrics(serve, { damages: 0, heals: 0, bootstraps: 0 }, 0)),
    registry: own(registryMetrics(registry)),
  };
}

function metricsPage(): string {
  const sections = Object.entries(metricsByService()).flatMap(([name, families]) => [
    `## ${name}`,
    '',
    '| Metric | Type | Labels | What it is |',
    '|---|---|---|---|',
    ...families.map((family) => {
      const labels = Object.keys(family.samples[0]?.labels ?? {}).map((label) => `\`${label}\``);
      return `| \`${family.name}\` | ${family.type} | ${labels.join(', ')} | ${family.help} |`;
    }),
    '',
  ]);
  return [
    '# Metrics',
    '',
    "<!-- Generated from the services' src/core/metrics.ts and packages/kit/src/metrics by npm run generate. -->",
    '',
    'Each service tells these at `GET /metrics` on its HTTP port (ingest 7411, compute 7412, serve 7413, registry 7414), in',
    "Prometheus' text format, without credentials. A label is a shard, a partition, a database, a method, a condition or a name",
    'in definitions, never a key of a row. A counter begins at 0 when the process starts; those that count "since the state was',
    'made" are part of the state, outlive the process, and go back with it when it is restored.',
    '',
    ...sections,
  ].join('\n');
}

function errorsPage(): string {
  const rows = Object.entries(ERROR_CODES).map(
    ([code, info]) => `| \`${code}\` | ${info.grpc} | ${info.retryable ? 'yes' : 'no'} | ${info.about} |`,
  );
  return [
    '# Errors',
    '',
    '<!-- Generated from packages/kit/src/error-codes.ts by npm run generate. -->',
    '',
    'Every error that crosses the wire carries a stable code, a message for people, and where there is something to do a',
    'remedy and a place. It travels as a `freshet.type.v1.ErrorDetail` in the gRPC trailer `freshet-error-bin`, and as a',
    'Connect error detail on the HTTP ports.',
    '',
    '| Code | gRPC status | Try again unchanged? | What it means |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}
