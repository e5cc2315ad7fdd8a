/** Goal: the file means what it says, and every mistake is told with its line and a way out. Method: small files. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FreshetError } from '@freshet/kit/errors.ts';
import { describe, expect, it } from 'vitest';
import { DEFAULT_PORTS, meshConfig, PORT_NAMES, parseMeshConfig, readMeshConfig } from './mesh-config.ts';

function problems(text: string): [place: string, message: string, remedy: string][] {
  try {
    parseMeshConfig(text, '/etc/freshet.yaml');
  } catch (error) {
    if (!(error instanceof FreshetError)) throw error;
    return [error, ...error.also].map((e) => [e.place.replace('/etc/freshet.yaml:', ''), e.message, e.remedy]);
  }
  return [];
}

describe('parseMeshConfig', () => {
  it('fills in defaults, and paths are relative to the file', () => {
    expect(parseMeshConfig('postgres: { default: "postgres://a@b/c" }', '/etc/freshet.yaml')).toEqual({
      dataDir: '/etc/.freshet',
      partitions: 8,
      host: '127.0.0.1',
      ports: DEFAULT_PORTS,
      postgres: { default: 'postgres://a@b/c' },
      definitions: [],
      options: { registry: {}, ingest: {}, compute: {}, serve: {} },
    });
  });

  it('reads everything', () => {
    const text = `
data_dir: /var/lib/freshet
partitions: 16
host: 0.0.0.0
ports: { serve: 0, serve_http: 8080 }
postgres:
  shop: postgresql://a@b/c
  crm: { file: secrets/crm }
definitions: [features/, more.yaml]
compute: { cache_bytes: 1GiB, commit-interval: 2s }
`;
    expect(parseMeshConfig(text, '/etc/freshet.yaml')).toEqual({
      dataDir: '/var/lib/freshet',
      partitions: 16,
      host: '0.0.0.0',
      ports: { ...DEFAULT_PORTS, serve: 0, serveHttp: 8080 },
      postgres: { shop: 'postgresql://a@b/c', crm: { file: '/etc/secrets/crm' } },
      definitions: ['/etc/features', '/etc/more.yaml'],
      options: { registry: {}, ingest: {}, compute: { 'cache-bytes': '1GiB', 'commit-interval': '2s' }, serve: {} },
    });
  });

  it('tells every problem at once, each at its line', () => {
    const text = `
postgress: { default: x }
partitions: 0.5
ports: { serve: 99999, web: 1 }
definitions: [3]
data_dir: [a]
`;
    expect(problems(text)).toEqual([
      ['2:1', 'the configuration has no "postgress"', 'did you mean postgres?'],
      ['6:11', 'data_dir is not text', 'write it as text'],
      ['3:13', 'partitions is not a whole number from 1 to 1024', 'write a number from 1 to 1024'],
      ['1:1', 'postgres is missing', 'name a database: postgres: { default: postgres://user@host/database }'],
      ['5:15', 'definitions[0] is not text', 'write it as text'],
      ['4:24', 'ports has no "web"', expect.stringContaining('serve_http')],
      ['4:17', 'ports.serve is not a whole number from 0 to 65535', 'write a number from 0 to 65535'],
    ]);
  });

  it('refuses options of a service that the mesh gives it: it would be looked for where it is not', () => {
    const text = `
postgres: { default: "postgres://x" }
serve: { http_listen: "0.0.0.0:80", partitions: 4, coalesce: 5ms, data-dir: /ssd/serve }
compute: { log: "other:7401" }
`;
    expect(problems(text)).toEqual([
      ['4:17', "compute.log is the mesh's to say", 'write it as host: and ports:'],
      ['3:23', "serve.http_listen is the mesh's to say", 'write it as host: and ports:'],
      ['3:49', "serve.partitions is the mesh's to say", 'write it as partitions: at the top'],
    ]);
  });

  it('refuses a URL that is none, a port used twice, YAML that is none, and a file that is not there', async () => {
    expect(problems('postgres: { default: "mysql://x" }')[0]?.[1]).toBe('postgres.default is not a URL of a database');
    expect(problems('postgres: { default: "postgres://x" }\nports: { serve: 7401 }')[0]?.[1]).toBe(
      'port 7401 is used for ingest and serve',
    );
    expect(problems('a: [')[0]?.[0]).toMatch(/^1:\d+$/);
    expect(problems('- a')[0]?.[1]).toBe('the configuration is not a mapping');
    expect(problems('postgres: { default: "postgres://x" }\npostgres: {}')[0]?.[1]).toMatch(/unique/);
    const missing = join(mkdtempSync(join(tmpdir(), 'freshet-')), 'none.yaml');
    await expect(readMeshConfig(missing)).rejects.toMatchObject({ code: 'INVALID_CONFIG', place: missing });
  });
});

describe('meshConfig', () => {
  it('lets a program say only what it must', () => {
    const config = meshConfig({ dataDir: '/tmp/x', postgres: { default: 'postgres://x' }, ports: 'free' });
    expect(Object.values(config.ports)).toEqual(PORT_NAMES.map(() => 0));
    expect(meshConfig({ dataDir: '/tmp/x', postgres: {}, ports: { serve: 1 } }).ports).toEqual({
      ...DEFAULT_PORTS,
      serve: 1,
    });
  });
});
