/**
 * Reads what the databases offer. Only ingest can speak to them, and no service is imported here: a running ingest is
 * asked by rpc; for a mesh that does not run, a process of ingest that only looks (services/ingest/src/diagnose.ts) is
 * started with the databases of the configuration. Judges nothing.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, fromJson, toJsonString } from '@bufbuild/protobuf';
import {
  type DatabaseDiagnosis,
  type DiagnoseSourcesRequest,
  DiagnoseSourcesRequestSchema,
  DiagnoseSourcesResponseSchema,
  IngestService,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { PostgresTable } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { DIAGNOSE_PROGRAM } from '../mesh/layout.ts';
import type { MeshConfig } from '../mesh/mesh-config.ts';
import { removeUrlFiles, writeUrlFiles } from '../mesh/url-files.ts';

/** How long a database has to answer. */
const DATABASE_MS = 5_000;
/** The rest of the call, or of the process's life, beside its databases. */
const AROUND_MS = 5_000;
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

/** Asks a running ingest node, also of the tables that definitions name. */
export async function askIngest(
  address: string,
  tables: readonly PostgresTable[],
  signal: AbortSignal,
): Promise<DatabaseDiagnosis[]> {
  const client = createGrpcClient(IngestService, address, { deadlineMs: DATABASE_MS + AROUND_MS });
  try {
    return (await client.diagnoseSources(requestOf(tables), { signal })).databases;
  } finally {
    client.close();
  }
}

function requestOf(tables: readonly PostgresTable[]): DiagnoseSourcesRequest {
  return create(DiagnoseSourcesRequestSchema, { patienceMs: DATABASE_MS, tables: [...tables] });
}

export interface LookOptions {
  /** What the process sees, less every FRESHET_ variable. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** Looks at the databases of a configuration without any process of its mesh. Throws what keeps ingest from looking. */
export async function lookAtDatabases(
  config: MeshConfig,
  tables: readonly PostgresTable[],
  { env, signal }: LookOptions,
): Promise<DatabaseDiagnosis[]> {
  if (Object.keys(config.postgres).length === 0) return [];
  // URLs may hold passwords, and arguments are there for everybody to see.
  const directory = await mkdtemp(join(tmpdir(), 'freshet-doctor-'));
  try {
    const files = await writeUrlFiles(config.postgres, directory);
    const request = join(directory, 'request.json');
    await writeFile(request, toJsonString(DiagnoseSourcesRequestSchema, requestOf(tables)));
    const slotName = config.options.ingest['slot-name'];
    const args = [
      ...Object.entries(files).map(([name, file]) => `--postgres=${name}=@${file}`),
      ...(typeof slotName === 'string' ? [`--slot-name=${slotName}`] : []),
      `--request=${request}`,
      '--log-level=error',
    ];
    const limit = AbortSignal.any([signal, AbortSignal.timeout(DATABASE_MS + AROUND_MS)]);
    const line = await run([DIAGNOSE_PROGRAM, ...args], { env, signal: limit });
    return fromJson(DiagnoseSourcesResponseSchema, JSON.parse(line)).databases;
  } finally {
    await removeUrlFiles(config.postgres, directory);
    await rm(directory, { recursive: true, force: true });
  }
}

/** Runs Node with the arguments and returns what it wrote. Throws with its last line of errors when it fails. */
function run(args: readonly string[], { env, signal }: LookOptions): Promise<string> {
  const child = spawn(process.execPath, [...args], {
    env: Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('FRESHET_'))),
    signal,
    killSignal: 'SIGKILL',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    if (out.length < OUTPUT_BYTES_MAX) out += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    err = (err + chunk).slice(-65_536);
  });
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => {
      const late = signal.aborted && signal.reason instanceof Error && signal.reason.name === 'TimeoutError';
      reject(
        late
          ? new FreshetError('DEADLINE_EXCEEDED', 'looking at the databases took too long', {
              remedy: 'this machine may be overloaded; look again',
              cause,
            })
          : cause,
      );
    });
    child.once('close', (code) => {
      if (code === 0) resolve(out);
      else reject(failureOf(err, code));
    });
  });
}

/** What the process said last of what is wrong. */
function failureOf(err: string, code: number | null): FreshetError {
  for (const line of err.trimEnd().split('\n')) {
    try {
      const { level, message, remedy, place } = JSON.parse(line) as Readonly<Record<string, unknown>>;
      if (level !== 'error' || typeof message !== 'string') continue;
      return new FreshetError('INVALID_CONFIG', message, {
        remedy: typeof remedy === 'string' ? remedy : undefined,
        place: typeof place === 'string' ? place : undefined,
      });
    } catch {
      // Not a log line: a trace of Node's, told below if there is nothing else.
    }
  }
  const said = err.trimEnd().split('\n').at(-1) ?? '';
  return new FreshetError('INTERNAL', `looking at the databases ended with ${code ?? 'a signal'}: ${said}`);
}
