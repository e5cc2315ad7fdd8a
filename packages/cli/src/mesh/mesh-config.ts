/**
 * The one YAML file of `freshet up`.
 *
 *     data_dir: .freshet                 # everything that is kept; relative to this file
 *     partitions: 8                      # fixed for the life of the data directory
 *     host: 127.0.0.1
 *     ports: { serve: 7403, serve_http: 7413, registry: 7404, registry_http: 7414,
 *              ingest: 7401, ingest_http: 7411, compute: 7402, compute_http: 7412 }
 *     postgres:
 *       default: postgres://app@localhost/shop        # or { file: ./secrets/shop-url }
 *     definitions: [features/]           # files or directories, put in force at each start
 *     compute: { cache-bytes: 1GiB }     # further options of a service, as its --help names them
 *
 * Owns reading and checking; every problem is told at once with its line. Unknown keys are refused, because a
 * misspelt one would otherwise be a setting that silently does nothing.
 */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { isMap, isScalar, isSeq, LineCounter, type Node, type Pair, parseDocument, type YAMLMap } from 'yaml';

export const ROLES = ['registry', 'ingest', 'compute', 'serve'] as const;
export type Role = (typeof ROLES)[number];

export const PORT_NAMES = [
  'registry',
  'registryHttp',
  'ingest',
  'ingestHttp',
  'compute',
  'computeHttp',
  'serve',
  'serveHttp',
] as const;
export type PortName = (typeof PORT_NAMES)[number];

export interface MeshConfig {
  readonly dataDir: string;
  readonly partitions: number;
  readonly host: string;
  /** 0: any free port. */
  readonly ports: Readonly<Record<PortName, number>>;
  /** Databases by name: a URL, or a file that holds it. */
  readonly postgres: Readonly<Record<string, string | { readonly file: string }>>;
  /** Files and directories. */
  readonly definitions: readonly string[];
  /** Further options of a service, by flag. */
  readonly options: Readonly<Record<Role, ServiceOptions>>;
}

/** Values by flag; a list gives the flag several times. */
export type ServiceOptions = Readonly<Record<string, string | readonly string[]>>;

export const DEFAULT_PORTS: Readonly<Record<PortName, number>> = {
  registry: 7404,
  registryHttp: 7414,
  ingest: 7401,
  ingestHttp: 7411,
  compute: 7402,
  computeHttp: 7412,
  serve: 7403,
  serveHttp: 7413,
};

/** What must be said; the rest has defaults. For programs that start a mesh without a file. */
export type MeshConfigInput = Pick<MeshConfig, 'dataDir' | 'postgres'> &
  Partial<Omit<MeshConfig, 'ports' | 'options'>> & {
    /** 'free': any free ports. */
    readonly ports?: 'free' | Partial<Record<PortName, number>> | undefined;
    readonly options?: Partial<Record<Role, ServiceOptions>> | undefined;
  };

export function meshConfig(input: MeshConfigInput): MeshConfig {
  const free = Object.fromEntries(PORT_NAMES.map((name) => [name, 0])) as Record<PortName, number>;
  return {
    partitions: 8,
    host: '127.0.0.1',
    definitions: [],
    ...input,
    dataDir: resolve(input.dataDir),
    ports: input.ports === 'free' ? free : { ...DEFAULT_PORTS, ...input.ports },
    options: { registry: {}, ingest: {}, compute: {}, serve: {}, ...input.options },
  };
}

/** Reads the file. Throws INVALID_CONFIG with all problems, each at its line. */
export async function readMeshConfig(path: string): Promise<MeshConfig> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new FreshetError(
      'INVALID_CONFIG',
      `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        remedy: 'give the configuration with -f <file>; freshet up --help shows one',
        place: path,
        cause,
      },
    );
  }
  return parseMeshConfig(text, path);
}

export function parseMeshConfig(text: string, path: string): MeshConfig {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const reader = new ConfigReader(path, lines);
  for (const error of document.errors)
    reader.problem(error.pos[0], error.message.split('\n')[0] ?? error.message, 'correct the YAML');
  let config: MeshConfig | undefined;
  if (document.errors.length === 0) {
    const root = document.contents;
    if (isMap(root)) config = readRoot(reader, root);
    else reader.problem(0, 'the configuration is not a mapping', 'see freshet up --help for an example');
  }
  reader.throwProblems();
  return config as MeshConfig;
}

function readRoot(reader: ConfigReader, root: YAMLMap): MeshConfig {
  const fields = reader.fields(root, 'the configuration', [
    'data_dir',
    'partitions',
    'host',
    'ports',
    'postgres',
    'definitions',
    ...ROLES,
  ]);
  const dataDir = reader.path(fields.get('data_dir'), 'data_dir') ?? reader.resolve('.freshet');
  const partitions = reader.integer(fields.get('partitions'), 'partitions', 1, 1024) ?? 8;
  const host = reader.text(fields.get('host'), 'host') ?? '127.0.0.1';
  const postgres = readPostgres(reader, fields.get('postgres'));
  if (Object.keys(postgres).length === 0 && fields.get('postgres') === undefined) {
    reader.problem(0, 'postgres is missing', 'name a database: postgres: { default: postgres://user@host/database }');
  }
  const definitions = readDefinitions(reader, fields.get('definitions'));
  const options = Object.fromEntries(ROLES.map((role) => [role, readOptions(reader, fields.get(role), role)]));
  return {
    dataDir,
    partitions,
    host,
    ports: readPorts(reader, fields.get('ports')),
    postgres,
    definitions,
    options: options as MeshConfig['options'],
  };
}

function readPorts(reader: ConfigReader, node: Node | undefined): Record<PortName, number> {
  const ports: Record<PortName, number> = { ...DEFAULT_PORTS };
  if (node === undefined) return ports;
  const names = new Map(PORT_NAMES.map((name) => [name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), name]));
  const fields = reader.fields(node, 'ports', [...names.keys()]);
  for (const [written, name] of names)
    ports[name] = reader.integer(fields.get(written), `ports.${written}`, 0, 65_535) ?? ports[name];
  const used = new Map<number, string>();
  for (const [written, name] of names) {
    const other = ports[name] === 0 ? undefined : used.get(ports[name]);
    if (other !== undefined)
      reader.at(
        fields.get(written) ?? node,
        `port ${ports[name]} is used for ${other} and ${written}`,
        'give each its own',
      );
    used.set(ports[name], written);
  }
  return ports;
}

function readPostgres(reader: ConfigReader, node: Node | undefined): Record<string, string | { file: string }> {
  const databases: Record<string, string | { file: string }> = {};
  if (node === undefined) return databases;
  for (const [name, value] of reader.fields(node, 'postgres', undefined)) {
    if (!/^[a-z][a-z0-9_]{0,39}$/.test(name)) {
      reader.at(
        value,
        `"${name}" is not a name for a database`,
        'use lower-case letters, digits and _, beginning with a letter',
      );
    }
    if (isMap(value)) {
      const fields = reader.fields(value, `postgres.${name}`, ['file']);
      const file = reader.path(fields.get('file'), `postgres.${name}.file`);
      if (file === undefined) reader.at(value, `postgres.${name}.file is missing`, 'name the file that holds the URL');
      else databases[name] = { file };
      continue;
    }
    const url = reader.text(value, `postgres.${name}`);
    if (url !== undefined && !/^postgres(ql)?:\/\/./.test(url)) {
      reader.at(
        value,
        `postgres.${name} is not a URL of a database`,
        'write it as postgres://user@host:5432/database, or { file: <path> }',
      );
    } else if (url !== undefined) databases[name] = url;
  }
  return databases;
}

function readDefinitions(reader: ConfigReader, node: Node | undefined): string[] {
  if (node === undefined) return [];
  const items = isSeq(node) ? (node.items as Node[]) : [node];
  return items.flatMap((item, i) => reader.path(item, `definitions[${i}]`) ?? []);
}

/** What the mesh itself says to its services, and where the configuration says it instead. */
const OWN_OPTIONS: Readonly<Record<string, string>> = {
  listen: 'host: and ports:',
  'http-listen': 'host: and ports:',
  registry: 'host: and ports:',
  log: 'host: and ports:',
  partitions: 'partitions: at the top',
  postgres: 'postgres: at the top',
};

function readOptions(reader: ConfigReader, node: Node | undefined, role: Role): ServiceOptions {
  const options: Record<string, string | string[]> = {};
  if (node === undefined) return options;
  for (const [key, value] of reader.fields(node, role, undefined)) {
    const items = isSeq(value) ? (value.items as Node[]) : [value];
    const texts = items.flatMap((item) => scalarText(item) ?? []);
    if (texts.length < items.length) {
      reader.at(value, `${role}.${key} is not a value`, `write it as the option's help shows it: ${role} --help`);
    }
    const flag = key.replaceAll('_', '-');
    const instead = Object.hasOwn(OWN_OPTIONS, flag) ? OWN_OPTIONS[flag] : undefined;
    // A service that listens elsewhere than it is looked for would be waited for without end.
    if (instead !== undefined) reader.at(value, `${role}.${key} is the mesh's to say`, `write it as ${instead}`);
    options[flag] = isSeq(value) ? texts : (texts[0] ?? '');
  }
  return options;
}

function scalarText(node: Node): string | undefined {
  const value = isScalar(node) ? node.value : undefined;
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : undefined;
}

/** Reads nodes of one file and gathers what is wrong with them. */
class ConfigReader {
  readonly #path: string;
  readonly #lines: LineCounter;
  readonly #problems: FreshetError[] = [];

  constructor(path: string, lines: LineCounter) {
    this.#path = path;
    this.#lines = lines;
  }

  resolve(path: string): string {
    return resolve(dirname(this.#path), path);
  }

  problem(offset: number, message: string, remedy: string): void {
    const { line, col } = this.#lines.linePos(offset);
    this.#problems.push(
      new FreshetError('INVALID_CONFIG', message, {
        remedy,
        place: `${this.#path}:${Math.max(1, line)}:${Math.max(1, col)}`,
      }),
    );
  }

  at(node: Node, message: string, remedy: string): void {
    this.problem(node.range?.[0] ?? 0, message, remedy);
  }

  throwProblems(): void {
    const [first, ...also] = this.#problems;
    if (first !== undefined)
      throw new FreshetError('INVALID_CONFIG', first.message, { remedy: first.remedy, place: first.place, also });
  }

  /** The members of a mapping, by key; keys that are not allowed are problems. A key without a value is left out. */
  fields(node: Node, what: string, allowed: readonly string[] | undefined): Map<string, Node> {
    const fields = new Map<string, Node>();
    if (!isMap(node)) {
      this.at(node, `${what} is not a mapping`, 'write key: value lines below it');
      return fields;
    }
    for (const pair of node.items as Pair<Node, Node | null>[]) {
      const key = isScalar(pair.key) ? String(pair.key.value) : '';
      if (allowed !== undefined && !allowed.includes(key)) {
        const near = closest(key, allowed);
        this.at(
          pair.key,
          `${what} has no "${key}"`,
          near === undefined ? `it knows ${allowed.join(', ')}` : `did you mean ${near}?`,
        );
      } else if (pair.value !== null && !(isScalar(pair.value) && pair.value.value === null))
        fields.set(key, pair.value);
    }
    return fields;
  }

  text(node: Node | undefined, what: string): string | undefined {
    if (node === undefined) return undefined;
    if (isScalar(node) && typeof node.value === 'string' && node.value !== '') return node.value;
    this.at(node, `${what} is not text`, 'write it as text');
    return undefined;
  }

  path(node: Node | undefined, what: string): string | undefined {
    const text = this.text(node, what);
    return text === undefined ? undefined : this.resolve(text);
  }

  integer(node: Node | undefined, what: string, least: number, most: number): number | undefined {
    if (node === undefined) return undefined;
    if (
      isScalar(node) &&
      typeof node.value === 'number' &&
      Number.isSafeInteger(node.value) &&
      node.value >= least &&
      node.value <= most
    ) {
      return node.value;
    }
    this.at(node, `${what} is not a whole number from ${least} to ${most}`, `write a number from ${least} to ${most}`);
    return undefined;
  }
}
