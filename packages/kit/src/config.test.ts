/** Goal: a bad setting never gets past the start, and every problem is named with its remedy. Method: tables and texts. */
import { describe, expect, it } from 'vitest';
import { helpText, parsers, readConfig } from './config.ts';
import type { FreshetError } from './errors.ts';

const table = {
  listen: { description: 'where to listen', form: 'host:port', parse: parsers.address, fallback: '127.0.0.1:7403' },
  dataDir: { description: 'where state lives', form: 'path', parse: parsers.text },
  cacheBytes: { description: 'memory for state', form: 'bytes', parse: parsers.bytes, fallback: '256MiB' },
  compute: { description: 'upstreams', form: 'host:port', parse: parsers.address, many: true },
  registry: { description: 'the registry', form: 'host:port', parse: parsers.address, fallback: null },
} as const;

function problems(args: readonly string[], env: Record<string, string> = {}): string[] {
  try {
    readConfig(table, args, env);
    return [];
  } catch (error) {
    const e = error as FreshetError;
    expect(e.code).toBe('INVALID_CONFIG');
    return [e, ...e.also].map((x) => `${x.message} | ${x.remedy}`);
  }
}

describe('readConfig', () => {
  it('takes defaults, flags, repeated flags and the environment; flags win', () => {
    const config = readConfig(table, ['--data-dir', 'd', '--compute=a:1', '--compute', 'b:2'], {
      FRESHET_CACHE_BYTES: '1GiB',
      FRESHET_DATA_DIR: 'x',
      PATH: '/bin',
    });
    expect(config).toEqual({
      listen: '127.0.0.1:7403',
      dataDir: 'd',
      cacheBytes: 2 ** 30,
      compute: ['a:1', 'b:2'],
      registry: undefined,
    });
  });

  it('names everything that is wrong at once, with what to do', () => {
    const found = problems(['--listn', 'a:1', '--cache-bytes', '3 apples'], { FRESHET_REGISTRI: 'x' });
    expect(found).toEqual([
      '--listn is not an option | did you mean --listen?',
      'argument 2 is not an option | write options as --name=value; see --help',
      'FRESHET_REGISTRI is not a setting | did you mean FRESHET_REGISTRY?',
      '--data-dir is missing | give --data-dir <path>: where state lives',
      '--cache-bytes: "3 apples" is not a size such as 512MiB | expected bytes: memory for state',
    ]);
  });

  it('never tells a value, of a misspelt flag or in a wrong place: it may be a password', () => {
    const args = [
      '--postgress=default=postgres://a:secret@b/c',
      '--data_dir',
      'secret',
      '-p=secret',
      '--postgres://secret',
      '--listen',
    ];
    const found = problems(['--data-dir=d', ...args]);
    expect(found.map((text) => text.split(' | ')[0])).toEqual([
      '--postgress is not an option',
      '--data_dir is not an option',
      'argument 4 is not an option',
      'argument 5 is not an option',
      'argument 6 is not an option',
      '--listen has no value',
    ]);
    expect(problems(['--data-dir=d', '--listen', '--postgres=secret']).join()).not.toContain('secret');
    expect(found.join()).not.toContain('secret');
  });

  it('prints every option with its default and its variable', () => {
    expect(helpText('freshet-serve', 'reads features', table)).toContain(
      '--cache-bytes <bytes>   memory for state (default 256MiB)  [FRESHET_CACHE_BYTES]',
    );
  });
});

describe('parsers', () => {
  it.each([
    [parsers.address, '::1', 'host:port'],
    [parsers.integer(1, 10), '11', 'from 1 to 10'],
    [parsers.integer(1, 10), '1.5', 'whole number'],
    [parsers.milliseconds, '5', 'duration'],
    [parsers.milliseconds, '99999999h', 'more than 87600h'],
    [parsers.bytes, '9999999999GiB', 'more than 1048576GiB'],
    [parsers.bytes, '9'.repeat(400), 'more than'],
    [parsers.address, 'localhost:65536', 'above 65535'],
    [parsers.oneOf('a', 'b'), 'c', 'one of a, b'],
  ] as const)('refuse what they cannot read %#', (parse, text, says) => {
    expect(() => parse(text)).toThrow(says);
  });
});
