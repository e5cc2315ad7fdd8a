/**
 * Definitions from files to the registry: what `plan`, `apply` and `up` share.
 * Owns finding and reading files and the two calls. Does not own the language (@freshet/definitions).
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { parseDefinitions } from '@freshet/definitions/parse.ts';
import type { Definitions } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type {
  PlanDefinitionsResponse,
  PlannedChange,
  RegistryService,
} from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { PostgresTable } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { GrpcClient } from '@freshet/kit/grpc/client.ts';

type Registry = GrpcClient<typeof RegistryService>;

/** Planning asks the database for its tables, which may have to be connected to first. */
const PLAN_DEADLINE_MS = 30_000;
const FILES_MAX = 10_000;

/**
 * The definitions in the files and in the .yaml and .yml files below the directories. Throws INVALID_DEFINITION with
 * every problem at its place, or INVALID_REQUEST when a path cannot be read.
 */
export async function readDefinitionFiles(paths: readonly string[]): Promise<Definitions> {
  const found = new Set<string>();
  for (const path of paths) for (const file of await definitionFiles(path)) found.add(file);
  const files = await Promise.all([...found].map(async (path) => ({ path, text: await readFile(path, 'utf8') })));
  return parseDefinitions(files);
}

async function definitionFiles(path: string): Promise<string[]> {
  const kind = await stat(path).catch((cause: unknown) => {
    throw new FreshetError(
      'INVALID_REQUEST',
      `${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        remedy: 'name files or directories of definitions',
        place: path,
        cause,
      },
    );
  });
  if (!kind.isDirectory()) return [path];
  const entries = await readdir(path, { recursive: true });
  const files = entries.filter((name) => /\.ya?ml$/.test(name)).sort();
  if (files.length === 0 || files.length > FILES_MAX) {
    throw new FreshetError('INVALID_REQUEST', `${path} has ${files.length} .yaml files`, {
      remedy:
        files.length === 0
          ? 'name the directory that holds the definitions'
          : `a plan takes at most ${FILES_MAX} files`,
      place: path,
    });
  }
  return files.map((name) => join(path, name));
}

/** The tables that they name, each once. */
export function tablesOf({ sources }: Definitions): PostgresTable[] {
  const named = sources.flatMap(({ origin }) => (origin.case === 'postgres' ? [origin.value] : []));
  return [...new Map(named.map((one) => [JSON.stringify([one.database, one.schema, one.table]), one])).values()];
}

export async function plan(
  registry: Registry,
  definitions: Definitions,
  signal: AbortSignal,
): Promise<PlanDefinitionsResponse> {
  return registry.planDefinitions({ definitions }, { signal, deadlineMs: PLAN_DEADLINE_MS });
}

export async function apply(
  registry: Registry,
  definitions: Definitions,
  planHash: Uint8Array,
  options: {
    readonly signal: AbortSignal;
    readonly message?: string | undefined;
    readonly acceptContracts?: boolean | undefined;
  },
): Promise<bigint> {
  const { signal, message = '', acceptContracts = false } = options;
  const { generation } = await registry.applyDefinitions(
    { definitions, planHash, by: whoApplies(), message, acceptContracts },
    { signal, deadlineMs: PLAN_DEADLINE_MS },
  );
  return generation;
}

/** Plans and applies what was planned, for callers with nobody to ask. */
export async function planAndApply(
  registry: Registry,
  definitions: Definitions,
  options: Parameters<typeof apply>[3],
): Promise<{ generation: bigint; changes: readonly PlannedChange[] }> {
  const { planHash, changes } = await plan(registry, definitions, options.signal);
  return { generation: await apply(registry, definitions, planHash, options), changes };
}

/** "ada@laptop": what people call whoever runs this, for the history. */
export function whoApplies(): string {
  try {
    return `${userInfo().username}@${hostname()}`.slice(0, 256);
  } catch {
    // A container may run as a user without a name.
    return `user ${process.getuid?.() ?? '?'}@${hostname()}`.slice(0, 256);
  }
}
