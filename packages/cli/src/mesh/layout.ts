/**
 * The processes of a mesh on one machine.
 *
 *     Postgres ──▶ ingest ──records──▶ compute ──changes──▶ serve ──▶ GetFeatures
 *                    └──────────────────┴─────────────────────┘
 *                       definitions, contracts, topology: registry ◀── freshet plan, apply
 *
 * Owns which program runs with which options. Does not own running them (mesh.ts, supervised-process.ts).
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MeshConfig, Role } from './mesh-config.ts';

export interface Addresses {
  readonly registry: string;
  readonly registryHttp: string;
  readonly ingest: string;
  readonly ingestHttp: string;
  readonly compute: string;
  readonly computeHttp: string;
  readonly serve: string;
  readonly serveHttp: string;
}

export interface Program {
  readonly role: Role;
  readonly main: string;
  readonly args: readonly string[];
  /** Where it is asked for its health. */
  readonly address: string;
}

const SERVICES = fileURLToPath(new URL('../../../../services', import.meta.url));

/** The program that looks at databases for the doctor, when no ingest runs. */
export const DIAGNOSE_PROGRAM = join(SERVICES, 'ingest', 'src', 'diagnose.ts');

/** The program that tries a DDL against a database. */
export const TRY_DDL_PROGRAM = join(SERVICES, 'ingest', 'src', 'try-ddl.ts');

/** The program that lists, verifies and restores checkpoints, while no compute runs. */
export const CHECKPOINT_PROGRAM = join(SERVICES, 'compute', 'src', 'checkpoints.ts');

/**
 * The programs in the order in which they start; they stop in the opposite one, user-facing first. `databases`: for each
 * database the file that holds its URL, because arguments are there for everybody on the machine to see.
 */
export function programs(
  config: MeshConfig,
  at: Addresses,
  databases: Readonly<Record<string, string>>,
): readonly Program[] {
  const data = (role: Role): string => join(config.dataDir, role);
  return [
    program(config, 'registry', at.registry, {
      listen: at.registry,
      'http-listen': at.registryHttp,
      'data-dir': data('registry'),
    }),
    program(config, 'ingest', at.ingest, {
      listen: at.ingest,
      'http-listen': at.ingestHttp,
      registry: at.registry,
      'data-dir': data('ingest'),
      partitions: String(config.partitions),
      postgres: Object.entries(databases).map(([name, file]) => `${name}=@${file}`),
    }),
    program(config, 'compute', at.compute, {
      listen: at.compute,
      'http-listen': at.computeHttp,
      registry: at.registry,
      'data-dir': data('compute'),
      log: at.ingest,
    }),
    program(config, 'serve', at.serve, {
      listen: at.serve,
      'http-listen': at.serveHttp,
      registry: at.registry,
      'data-dir': data('serve'),
      partitions: String(config.partitions),
    }),
  ];
}

function program(
  config: MeshConfig,
  role: Role,
  address: string,
  options: Readonly<Record<string, string | readonly string[]>>,
): Program {
  const all = { ...options, ...config.options[role] };
  const args = Object.entries(all).flatMap(([flag, value]) => [value].flat().map((text) => `--${flag}=${text}`));
  return { role, main: join(SERVICES, role, 'src', 'main.ts'), args, address };
}
