/**
 * Looks at everything and returns what was found. Owns the order and the time that each look may take: a disk, a
 * database or a node that hangs is a finding, not a hang.
 *
 *     configuration ─▶ processes ─▶ disks, ports, machine ─▶ registry, nodes ─▶ databases ─▶ clocks
 */

import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { userInfo } from 'node:os';
import type { DatabaseDiagnosis } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { PostgresTable } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { toFreshetError } from '@freshet/kit/grpc/error-mapping.ts';
import { RUNTIME, VERSION } from '@freshet/kit/version.ts';
import { readDefinitionFiles, tablesOf } from '../definitions.ts';
import { type MeshConfig, readMeshConfig } from '../mesh/mesh-config.ts';
import { type Area, type Finding, Findings } from './finding.ts';
import { askIngest, lookAtDatabases } from './gather-databases.ts';
import { gatherDirectories, gatherMachine, gatherPorts, gatherProcesses } from './gather-local.ts';
import { type GatheredMesh, gatherMesh } from './gather-mesh.ts';
import { judgeClocks, type OtherClock } from './judge-clocks.ts';
import { judgeConfiguration, type UrlFileFacts } from './judge-configuration.ts';
import { judgeDatabases } from './judge-databases.ts';
import { judgeDisks } from './judge-disks.ts';
import { judgeMachine } from './judge-machine.ts';
import { judgePorts } from './judge-ports.ts';
import { judgeProcesses, type ProcessesFacts } from './judge-processes.ts';
import { judgeServices } from './judge-services.ts';

export interface ExamineOptions {
  /** The configuration of `freshet up`; undefined: only a running mesh is looked at. */
  readonly file: string | undefined;
  /** A running registry; undefined: the one of the configuration. */
  readonly registry: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** How long each look may take, in milliseconds. */
  readonly lookMs?: number | undefined;
}

/** Longer than what is within it may take: a database has 5 s, a process around it 5 s more. */
const LOOK_MS = 15_000;

/** Looks at everything that there is. Rejects only when the signal aborts. */
export async function examine(options: ExamineOptions): Promise<Finding[]> {
  const examination = new Examination(options);
  await examination.run();
  options.signal.throwIfAborted();
  return examination.findings;
}

class Examination {
  readonly findings: Finding[] = [];
  readonly #options: ExamineOptions;
  #config: MeshConfig | undefined;
  #processes: ProcessesFacts | undefined;
  #mesh: GatheredMesh | undefined;
  readonly #clocks: OtherClock[] = [];
  /** Those that the definitions name: the ones in force, or, where none are known to be, those of the configuration. */
  #tables: readonly PostgresTable[] = [];

  constructor(options: ExamineOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    const { clock, file } = this.#options;
    const wallUs = clock.nowUs();
    const monotonicUs = clock.monotonicUs();
    if (file !== undefined) await this.#look('configuration', () => this.#configuration(file));
    const config = this.#config;
    if (config !== undefined) {
      await this.#look('processes', () => this.#ofProcesses(config));
      const processes = this.#processes;
      await Promise.all([
        this.#look('disks', () => this.#disks(config)),
        ...(processes === undefined
          ? []
          : [
              this.#look('machine', async () => judgeMachine(await gatherMachine(config, processes))),
              this.#look('ports', async () => judgePorts(await gatherPorts(config, processes))),
            ]),
      ]);
    }
    await this.#look('services', () => this.#services());
    await this.#look('databases', () => this.#databases());
    const watchedUs = clock.monotonicUs() - monotonicUs;
    const steppedUs = clock.nowUs() - wallUs - watchedUs;
    this.findings.push(...judgeClocks({ steppedUs, watchedUs, others: this.#clocks }));
  }

  /** One look: what it finds, or that it failed or took too long. */
  async #look(area: Area, work: () => Promise<readonly Finding[]>): Promise<void> {
    const { clock, signal, lookMs = LOOK_MS } = this.#options;
    const done = new AbortController();
    const late = clock.sleep(lookMs, AbortSignal.any([signal, done.signal])).then((): never => {
      throw new FreshetError('DEADLINE_EXCEEDED', `looking took longer than ${lookMs} ms`, {
        remedy: 'something it needs hangs: a disk, a network file system, a node',
      });
    });
    try {
      this.findings.push(...(await Promise.race([work(), late])));
    } catch (thrown) {
      signal.throwIfAborted();
      const error = isFreshetError(thrown) ? thrown : toFreshetError(thrown);
      const cause = error.code === 'INTERNAL' && error.cause instanceof Error ? error.cause.message : error.message;
      const findings = new Findings(area);
      findings.problem({ message: `could not be looked at: ${cause}`, remedy: error.remedy, place: error.place });
      this.findings.push(...findings.list);
    } finally {
      done.abort();
      late.catch(() => undefined);
    }
  }

  async #configuration(path: string): Promise<Finding[]> {
    const facts = { path, definitionFiles: 0, urlFiles: [] };
    try {
      this.#config = await readMeshConfig(path);
    } catch (error) {
      if (!isFreshetError(error)) throw error;
      return judgeConfiguration({ ...facts, error });
    }
    const { definitions, postgres } = this.#config;
    const definitionsError =
      definitions.length === 0
        ? undefined
        : await readDefinitionFiles(definitions).then(
            (read) => {
              this.#tables = tablesOf(read);
              return undefined;
            },
            (error: unknown) => toFreshetError(error),
          );
    const urlFiles = await Promise.all(
      Object.entries(postgres).flatMap(([database, url]) =>
        typeof url === 'string' ? [] : [urlFileFacts(database, url.file)],
      ),
    );
    return judgeConfiguration({ path, definitionsError, definitionFiles: definitions.length, urlFiles });
  }

  async #ofProcesses(config: MeshConfig): Promise<Finding[]> {
    this.#processes = await gatherProcesses(config);
    return judgeProcesses(this.#processes);
  }

  async #disks(config: MeshConfig): Promise<Finding[]> {
    const { uid, username } = userInfo();
    const nowUs = this.#options.clock.nowUs();
    return judgeDisks(await gatherDirectories(config), { uid: uid < 0 ? undefined : uid, user: username, nowUs });
  }

  async #services(): Promise<readonly Finding[]> {
    const { clock, signal } = this.#options;
    const findings = new Findings('services');
    const registry = this.#options.registry ?? this.#configuredRegistry();
    if (registry === undefined) {
      if (this.#config !== undefined) {
        findings.note({
          message: 'the port of the registry is chosen at each start, so the running mesh cannot be looked at',
          remedy: 'give --registry <address>, as freshet up prints it',
        });
      }
      return findings.list;
    }
    try {
      this.#mesh = await gatherMesh(registry, clock, signal);
    } catch (error) {
      signal.throwIfAborted();
      const text = { message: `the registry does not answer: ${toFreshetError(error).message}`, place: registry };
      const expected = this.#options.registry !== undefined || this.#processes?.supervisor !== undefined;
      if (expected) findings.problem({ ...text, remedy: 'see that it runs and can be reached from here' });
      else findings.note({ message: 'no mesh runs; start it by freshet up', place: registry });
      return findings.list;
    }
    this.#clocks.push(...this.#mesh.clocks);
    this.#tables = this.#mesh.tables ?? this.#tables;
    return judgeServices(this.#mesh.mesh, { nowUs: clock.nowUs(), version: VERSION, runtime: RUNTIME });
  }

  #configuredRegistry(): string | undefined {
    const config = this.#config;
    return config === undefined || config.ports.registry === 0 ? undefined : `${config.host}:${config.ports.registry}`;
  }

  async #databases(): Promise<readonly Finding[]> {
    const { clock } = this.#options;
    const ingest = this.#mesh?.mesh.nodes.find(({ answer }) => answer.role === 'ingest' && 'status' in answer);
    const { databases, against } = await this.#askDatabases(ingest?.node.address);
    for (const { database, server } of databases) {
      if (server === undefined) continue;
      const uncertainUs = Math.round(Number(server.roundTripUs) / 2);
      this.#clocks.push({ whose: `database ${database}`, against, aheadUs: Number(server.clockAheadUs), uncertainUs });
    }
    const ingestRuns = ingest !== undefined;
    return judgeDatabases(databases, { nowUs: clock.nowUs(), ingestRuns });
  }

  /** By a running ingest, which may reach what we cannot; else, where there is a configuration, by ourselves. */
  async #askDatabases(ingest: string | undefined): Promise<{ databases: DatabaseDiagnosis[]; against: string }> {
    const { env, signal } = this.#options;
    const config = this.#config;
    if (ingest !== undefined) {
      try {
        return { databases: await askIngest(ingest, this.#tables, signal), against: 'ingest' };
      } catch (error) {
        if (config === undefined || signal.aborted) throw error;
      }
    }
    if (config === undefined) return { databases: [], against: '' };
    return { databases: await lookAtDatabases(config, this.#tables, { env, signal }), against: 'this machine' };
  }
}

async function urlFileFacts(database: string, path: string): Promise<UrlFileFacts> {
  try {
    await access(path, constants.R_OK);
    return { database, path, mode: (await stat(path)).mode & 0o777 };
  } catch (error) {
    return { database, path, unreadable: (error as NodeJS.ErrnoException).code ?? 'unknown' };
  }
}
