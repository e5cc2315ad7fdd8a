/** The pages of docs/ that are made from tables in the code, so that they cannot say anything else. */
import { globSync, readFileSync } from 'node:fs';
import { basename, join, sep } from 'node:path';
import { envOf, flagOf, type OptionTable } from '@freshet/kit/config.ts';
import { ERROR_CODES } from '@freshet/kit/error-codes.ts';
import { OPTIONS as COMPUTE } from '../services/compute/src/config.ts';
import { OPTIONS as INGEST } from '../services/ingest/src/config.ts';
import { OPTIONS as REGISTRY } from '../services/registry/src/config.ts';
import { OPTIONS as SERVE } from '../services/serve/src/config.ts';
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
