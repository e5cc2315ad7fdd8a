/** A whole mesh on a fresh Postgres in a temporary directory, for benchmarks and end-to-end tests. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Program, programs } from '@freshet/cli/mesh/layout.ts';
import { type Mesh, type MeshConfigInput, type MeshOptions, startMesh } from '@freshet/cli/mesh/mesh.ts';
import { createFreshetClient, type FreshetClient } from '@freshet/client/freshet-client.ts';
import { createLogger } from '@freshet/kit/logger.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import postgres, { type Sql } from 'postgres';
import { untilServing } from '../../examples/storefront/quiesce.ts';

export interface MeshUnderTest {
  readonly mesh: Mesh;
  /** The database as it runs now; another object after restartDatabase(). */
  readonly database: RunningPostgres;
  readonly sql: Sql;
  readonly client: FreshetClient;
  readonly directory: string;
  /** Starts the database again, on its files and its port, after it was killed. */
  restartDatabase(): Promise<void>;
  close(): Promise<void>;
}

export interface MeshUnderTestOptions {
  /** Statements that make the tables, run before the mesh starts. */
  readonly schema: string;
  /** The definitions, as YAML. */
  readonly definitions: string;
  readonly partitions?: number;
  readonly postgresSettings?: Readonly<Record<string, string>>;
  /** Further options of a service, by flag. */
  readonly services?: MeshConfigInput['options'];
  readonly onLine?: MeshOptions['onLine'];
  /** What ingest gets beside its other arguments, as it is when ingest is started or resumed: a caller changes it as people do. */
  readonly ingestArguments?: readonly string[];
}

export async function startMeshUnderTest(options: MeshUnderTestOptions): Promise<MeshUnderTest> {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-mesh-'));
  const controller = new AbortController();
  const closers: (() => Promise<unknown>)[] = [async () => rmSync(directory, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    const settings = options.postgresSettings ?? {};
    const home = join(directory, 'postgres');
    let database = await startPostgres({ directory: home, settings });
    closers.push(() => database.stop());
    const sql = postgres(database.url, { max: 10, onnotice: () => {} });
    closers.push(() => sql.end({ timeout: 1 }));
    await sql.unsafe(options.schema);
    const file = join(directory, 'features.yaml');
    writeFileSync(file, options.definitions);
    const mesh = await startMesh({
      config: {
        dataDir: join(directory, 'mesh'),
        ports: 'free',
        partitions: options.partitions ?? 8,
        postgres: { default: database.url },
        definitions: [file],
        options: options.services,
      },
      log: createLogger({ name: 'mesh', level: 'error' }),
      signal: controller.signal,
      onLine: options.onLine,
      layout: (...of) => programs(...of).map((program) => withArguments(program, options.ingestArguments ?? [])),
    });
    closers.push(() => mesh.stop());
    await untilServing(mesh.addresses, controller.signal);
    const client = createFreshetClient({ addresses: [mesh.addresses.serve] });
    closers.push(async () => client.close());
    return {
      mesh,
      get database() {
        return database;
      },
      sql,
      client,
      directory,
      restartDatabase: async () => {
        database = await startPostgres({ directory: home, port: database.port, settings });
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Ingest with more arguments, read anew at each start. */
function withArguments(program: Program, more: readonly string[]): Program {
  if (program.role !== 'ingest') return program;
  return {
    ...program,
    get args() {
      return [...program.args, ...more];
    },
  };
}
