/**
 * Goal: the repository keeps the rules that a reader relies on: imports go one way, files and functions stay short,
 * modules say what they own, invariants and tests name each other, links lead somewhere, and nothing names the machine
 * it was written on. Method: read the tracked files as text. Limits ratchet: lower them, never raise them.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { INVARIANTS } from './invariants.ts';

const root = join(import.meta.dirname, '../..');
const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(root, file)));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const code = tracked.filter((file) => /\.(ts|mjs)$/.test(file) && !file.startsWith('packages/gen/src/'));
/** What only tests import: fixtures, rigs and contract suites beside the code they are for. */
const forTests = (file: string): boolean => /\.test\.ts$|\.testing\.ts$|-suite\.ts$|\/testing\//.test(file);
const sources = code.filter((file) => /^(packages|services)\//.test(file) && !forTests(file));
const tests = code.filter((file) => /\.test\.ts$/.test(file));

/** What each package may import, beside gen and kit; services and the command line may import any package. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  gen: [],
  kit: ['gen'],
  values: ['gen', 'kit'],
  store: ['gen', 'kit'],
  log: ['gen', 'kit', 'values', 'store'],
  engine: ['gen', 'kit', 'values'],
  contracts: ['gen', 'kit', 'values', 'engine'],
  schemas: ['kit'],
  definitions: ['gen', 'kit', 'values', 'engine', 'contracts'],
  replica: ['gen', 'kit', 'values', 'store', 'engine'],
  client: ['gen', 'kit', 'values', 'replica'],
  cli: ['gen', 'kit', 'values', 'contracts', 'definitions', 'client', 'store'],
  testkit: ['gen', 'kit', 'values', 'store', 'definitions', 'engine', 'log'],
};
const SERVICE_LAYERS = [
  'gen',
  'kit',
  'values',
  'store',
  'log',
  'engine',
  'contracts',
  'schemas',
  'definitions',
  'replica',
];

function importsOf(file: string): string[] {
  return [...read(file).matchAll(/^(?:import|export)[^;]*?from\s+'([^']+)'/gms)].map((match) => match[1] ?? '');
}

describe('imports', () => {
  it('go one way between packages, and never from service to service', () => {
    const wrong: string[] = [];
    for (const file of sources) {
      const [kind, name = ''] = file.split('/');
      const allowed = kind === 'services' ? SERVICE_LAYERS : LAYERS[name];
      expect(allowed, `${name} has no place in the order of packages`).toBeDefined();
      for (const specifier of importsOf(file)) {
        const target = /^@freshet\/([^/]+)\//.exec(specifier)?.[1];
        if (target !== undefined && target !== name && !allowed?.includes(target))
          wrong.push(`${file} imports ${specifier}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('keep core pure: no node modules, no third-party clients, no clocks, no chance', () => {
    const pure = sources.filter((file) => /^packages\/(engine|values)\//.test(file) || /\/core\//.test(file));
    const wrong: string[] = [];
    for (const file of pure) {
      for (const specifier of importsOf(file)) {
        if (/^(node:|@grpc\/|postgres$|classic-level$|kafkajs$|ioredis$)/.test(specifier))
          wrong.push(`${file} imports ${specifier}`);
      }
      const call = /Date\.now|new Date\(\)|Math\.random|performance\.now|process\.env|setTimeout|setInterval/.exec(
        read(file),
      );
      if (call !== null) wrong.push(`${file} calls ${call[0]}`);
    }
    expect(wrong).toEqual([]);
  });

  it('keep rpc and io apart, and core below both', () => {
    const wrong = sources.flatMap((file) => {
      const layer = /^services\/[^/]+\/src\/(rpc|io|core)\//.exec(file)?.[1];
      const banned =
        layer === 'core' ? /\/(rpc|io)\// : layer === 'rpc' ? /\/io\// : layer === 'io' ? /\/rpc\// : undefined;
      return banned === undefined
        ? []
        : importsOf(file)
            .filter((s) => s.startsWith('.') && banned.test(s))
            .map((s) => `${file} imports ${s}`);
    });
    expect(wrong).toEqual([]);
  });
});

describe('files', () => {
  it('stay under 500 lines', () => {
    const long = code.filter((file) => read(file).split('\n').length > 500);
    expect(long).toEqual([]);
  });

  it('open with what they own', () => {
    const silent = code.filter((file) => !/^(#!.*\n)?(\/\*\*|\/\/)/.test(read(file)));
    expect(silent).toEqual([]);
  });

  it('are small: nothing above 1 MiB is committed', () => {
    expect(tracked.filter((file) => statSync(join(root, file)).size > 1024 * 1024)).toEqual([]);
  });

  it('name no machine and no package registry', () => {
    const words = /(^|[^A-Za-z.])\/(work|farm)\/|registry\.npmjs|deb\.debian|repo1?\.maven|pypi\.org|proxy\.golang/;
    const exempt = new Set(['package-lock.json', 'test/tidy/tidy.test.ts']);
    const wrong = tracked.filter((file) => !exempt.has(file) && !file.endsWith('.binpb') && words.test(read(file)));
    expect(wrong).toEqual([]);
  });

  it('leave nothing unfinished or switched off', () => {
    const words = /\b(TODO|FIXME|XXX)\b|\b(it|test|describe)\.(skip|only|todo)\b/;
    expect(code.filter((file) => file !== 'test/tidy/tidy.test.ts' && words.test(read(file)))).toEqual([]);
  });
});

describe('invariants', () => {
  const ids = new Set(INVARIANTS.map((invariant) => invariant.id));
  const titles = tests.flatMap((file) =>
    [...read(file).matchAll(/\b(?:it|test|describe)(?:\.each\([\s\S]*?\))?\(\s*['"`]([^'"`]+)/g)].map(
      (m) => m[1] ?? '',
    ),
  );

  it('are each named by a test', () => {
    const unproven = INVARIANTS.filter(({ id }) => !titles.some((title) => new RegExp(`\\b${id}\\b`).test(title)));
    expect(unproven.map(({ id }) => id)).toEqual([]);
  });

  it('are known when a test names one', () => {
    const named = titles.flatMap((title) => [...title.matchAll(/\b([FLRIC]\d)\b/g)].map((match) => match[1] ?? ''));
    expect(named.filter((id) => !ids.has(id))).toEqual([]);
  });
});

describe('documents', () => {
  it('link only to what is there', () => {
    const dead: string[] = [];
    for (const file of tracked.filter((name) => name.endsWith('.md'))) {
      for (const [, target = ''] of read(file).matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^(https?:|#|mailto:)/.test(target)) continue;
        const path = join(dirname(file), target.split('#')[0] ?? '');
        if (!existsSync(join(root, path))) dead.push(`${file} → ${target}`);
      }
    }
    expect(dead).toEqual([]);
  });

  it('name files that exist in the life of an event', () => {
    const text = read('docs/life-of-an-event.md');
    const names = [...text.matchAll(/`((?:packages|services|proto)\/[^`\s]+\.(?:ts|proto))`/g)].map(
      (match) => match[1] ?? '',
    );
    expect(names.length).toBeGreaterThan(9);
    expect(names.filter((name) => !existsSync(join(root, name)))).toEqual([]);
  });
});
