/**
 * A mesh on one machine: its processes started in order, kept running, and stopped in order.
 *
 *     lock data_dir ─▶ end leftovers ─▶ registry ─▶ ingest, compute, serve ─▶ definitions ─▶ up
 *     stop: serve ─▶ compute ─▶ ingest ─▶ registry
 *
 * A process that never comes up ends the mesh. One that came up and cannot go on does not end the others (static
 * stability): serve answers from what it has, whatever becomes of ingest and compute.
 *
 * Owns the order. Does not own which programs there are (layout.ts), one process (supervised-process.ts), or the
 * definitions (apply-at-start.ts). `freshet up`, the examples and the tests all start their mesh here.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Definitions } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { type Clock, systemClock } from '@freshet/kit/clock.ts';
import { type DirectoryLock, lockDirectory } from '@freshet/kit/directory-lock.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { readDefinitionFiles } from '../definitions.ts';
import { applyAtStart } from './apply-at-start.ts';
import { checkPortsFree, freePorts } from './free-ports.ts';
import { type HealthQuestion, untilHealthy } from './health.ts';
import { type Addresses, type Program, programs } from './layout.ts';
import { type MeshConfig, type MeshConfigInput, meshConfig, PORT_NAMES, ROLES, type Role } from './mesh-config.ts';
import { endLeftover } from './pid-file.ts';
import { RESTART_LIMITS, type RestartLimits } from './restart-policy.ts';
import { SupervisedProcess } from './supervised-process.ts';
import { removeUrlFiles, writeUrlFiles } from './url-files.ts';

export type { Addresses } from './layout.ts';
export type { MeshConfigInput, Role } from './mesh-config.ts';

export interface MeshOptions {
  readonly config: MeshConfigInput;
  readonly log: Logger;
  /** Aborting it stops the mesh, also while it starts. */
  readonly signal: AbortSignal;
  /** Takes each line that a process writes; by default they are dropped (a failure still tells the last ones). */
  readonly onLine?: ((role: Role, line: string) => void) | undefined;
  readonly limits?: Partial<RestartLimits> | undefined;
  /** How long each process may take to stop, in milliseconds. */
  readonly graceMs?: number | undefined;
  readonly clock?: Clock | undefined;
  /** Which programs there are; by default the four services. Tests bring smaller ones. */
  readonly layout?: typeof programs | undefined;
  /** Told of the mesh before its processes start, so that an impatient caller can kill them. */
  readonly onStarted?: ((mesh: Mesh) => void) | undefined;
  /** What the processes see, less every FRESHET_ variable: their options come from the layout alone. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

export interface Mesh {
  readonly addresses: Addresses;
  /** Settles when all processes are gone: rejects when one never came up, resolves when the mesh was stopped. */
  readonly done: Promise<void>;
  /** The number of the role's running process; undefined between two. */
  pid(role: Role): number | undefined;
  /** How often the role's process was started. */
  starts(role: Role): number;
  /** Ends the role's process (SIGKILL unless told otherwise), which is started again; resolves when the old one is gone. */
  kill(role: Role, signal?: NodeJS.Signals): Promise<void>;
  /** Stops the role's process and leaves it stopped, until `resume`. */
  halt(role: Role, signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  resume(role: Role): Promise<void>;
  /** Resolves when the role's process answers. Rejects when the mesh fails or is stopped. */
  untilHealthy(role: Role, signal?: AbortSignal): Promise<void>;
  /** Resolves when the role's process can do its work. Rejects when the mesh fails or is stopped. */
  untilReady(role: Role, signal?: AbortSignal): Promise<void>;
  /** Stops everything in order; resolves when all are gone. */
  stop(): Promise<void>;
  /** Kills everything at once. */
  killAll(): void;
}

/**
 * Starts a mesh; resolves when every process answers and the definitions are in force. Throws STORE_LOCKED when another
 * mesh has the data directory, INVALID_CONFIG when a process refuses its options or a port is taken, and what plan and
 * apply throw; then everything that was started is stopped.
 */
export async function startMesh(options: MeshOptions): Promise<Mesh> {
  const config = meshConfig(options.config);
  // What is wrong with the files is told before anything is started.
  const definitions = config.definitions.length === 0 ? undefined : await readDefinitionFiles(config.definitions);
  options.signal.throwIfAborted();
  const runDir = join(config.dataDir, 'run');
  await mkdir(runDir, { recursive: true, mode: 0o700 });
  const addresses = await chooseAddresses(config);
  const lock = await lockDirectory(runDir, 'the data directory');
  const mesh = new RunningMesh(options, config, { directory: runDir, lock }, addresses);
  try {
    options.onStarted?.(mesh);
    await mesh.prepare();
    await mesh.start();
    if (definitions !== undefined) await mesh.applyDefinitions(definitions);
    return mesh;
  } catch (error) {
    await mesh.stop();
    throw error;
  }
}

const GRACE_MS = 10_000;

/** Where a mesh keeps what is there only while it runs. */
interface RunDirectory {
  readonly directory: string;
  readonly lock: DirectoryLock;
}

class RunningMesh implements Mesh {
  readonly addresses: Addresses;
  readonly done: Promise<void>;
  readonly #options: MeshOptions;
  readonly #config: MeshConfig;
  readonly #run: RunDirectory;
  readonly #clock: Clock;
  readonly #processes = new Map<Role, SupervisedProcess>();
  /** The roles whose process was ever healthy. */
  readonly #cameUp = new Set<Role>();
  /** Aborts when the mesh fails or is to stop; the reason says which. */
  readonly #end = new AbortController();
  readonly #finish: PromiseWithResolvers<void> = Promise.withResolvers();
  #programs: readonly Program[] = [];
  #prepared: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: MeshOptions, config: MeshConfig, run: RunDirectory, addresses: Addresses) {
    this.#options = options;
    this.#config = config;
    this.#run = run;
    this.addresses = addresses;
    this.#clock = options.clock ?? systemClock;
    this.done = this.#finish.promise;
    this.done.catch(() => undefined);
    const onAbort = (): void => {
      this.#end.abort(options.signal.reason);
      void this.stop();
    };
    options.signal.addEventListener('abort', onAbort, { once: true, signal: this.#end.signal });
    if (options.signal.aborted) onAbort();
  }

  /** Ends what a killed mesh left behind on this data directory, user-facing first, and readies what starting needs. */
  prepare(): Promise<void> {
    this.#prepared = this.#prepare();
    return this.#prepared;
  }

  async start(): Promise<void> {
    // The registry comes first, because the others announce themselves to it; those find each other by retrying.
    this.#launch('registry');
    await this.untilReady('registry');
    const others = ROLES.filter((role) => role !== 'registry');
    for (const role of others) this.#launch(role);
    await Promise.all(others.map((role) => this.untilHealthy(role)));
  }

  applyDefinitions(definitions: Definitions): Promise<void> {
    const { log } = this.#options;
    const registry = this.addresses.registry;
    return applyAtStart({ registry, definitions, clock: this.#clock, log, signal: this.#end.signal });
  }

  pid(role: Role): number | undefined {
    return this.#processes.get(role)?.pid;
  }

  starts(role: Role): number {
    return this.#processes.get(role)?.starts ?? 0;
  }

  async kill(role: Role, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#processes.get(role)?.kill(signal);
  }

  async halt(role: Role, signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const process = this.#processes.get(role);
    if (signal === 'SIGKILL') process?.killNow();
    // It counts as ours until it is gone, so that stopping the mesh meanwhile waits for it too.
    await process?.stop(this.#graceMs());
    this.#processes.delete(role);
  }

  async resume(role: Role): Promise<void> {
    if (!this.#processes.has(role)) this.#launch(role);
    await this.untilHealthy(role);
  }

  untilHealthy(role: Role, signal?: AbortSignal): Promise<void> {
    return this.#until(role, '', signal);
  }

  untilReady(role: Role, signal?: AbortSignal): Promise<void> {
    return this.#until(role, 'ready', signal);
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stopInOrder();
    return this.#stopped;
  }

  killAll(): void {
    for (const process of this.#processes.values()) process.killNow();
  }

  async #prepare(): Promise<void> {
    this.#end.signal.throwIfAborted();
    for (const role of ROLES.toReversed()) {
      const pid = await endLeftover(this.#pidFile(role), this.#graceMs(), this.#clock);
      if (pid !== undefined) this.#options.log.warn(`ended a process that an earlier run left behind`, { role, pid });
    }
    await checkPortsFree(Object.values(this.addresses));
    this.#end.signal.throwIfAborted();
    const urls = await writeUrlFiles(this.#config.postgres, this.#run.directory);
    this.#programs = (this.#options.layout ?? programs)(this.#config, this.addresses, urls);
  }

  async #until(role: Role, question: HealthQuestion, signal: AbortSignal | undefined): Promise<void> {
    const either = signal === undefined ? this.#end.signal : AbortSignal.any([signal, this.#end.signal]);
    await untilHealthy(this.#program(role).address, question, this.#clock, either, (waitedMs) => {
      // It runs, or the supervisor would tell of its end: only it knows what it is at.
      const doing = question === '' ? 'does not answer yet' : 'answers, but is not ready yet';
      const { pid, lastLine } = this.#processes.get(role) ?? {};
      this.#options.log.warn(`${role} ${doing}`, { waitedMs, pid, lastLine });
    });
    this.#cameUp.add(role);
  }

  #launch(role: Role): void {
    this.#end.signal.throwIfAborted();
    const { main, args } = this.#program(role);
    const { log, onLine, limits, env } = this.#options;
    const supervised = new SupervisedProcess(
      {
        name: role,
        command: process.execPath,
        args: [main, ...args],
        env: childEnvironment(env),
        pidFile: this.#pidFile(role),
      },
      {
        clock: this.#clock,
        log,
        limits: { ...RESTART_LIMITS, ...limits },
        random: Math.random,
        cameUp: () => this.#cameUp.has(role),
        onLine: (line) => onLine?.(role, line),
      },
    );
    this.#processes.set(role, supervised);
    supervised.done.catch((error: unknown) => this.#fail(error));
  }

  #fail(error: unknown): void {
    if (this.#end.signal.aborted) return;
    this.#failure = { error };
    this.#end.abort(error);
    void this.stop();
  }

  /** User-facing first, so that nobody is served by a mesh of which half is gone. */
  async #stopInOrder(): Promise<void> {
    this.#end.abort(new DOMException('the mesh was stopped', 'AbortError'));
    // What is being made ready must be there before it can be taken away.
    await this.#prepared?.catch(() => undefined);
    for (const role of ROLES.toReversed()) await this.#processes.get(role)?.stop(this.#graceMs());
    const { directory, lock } = this.#run;
    await Promise.all([removeUrlFiles(this.#config.postgres, directory), lock.release()]).catch((error: unknown) => {
      this.#options.log.warn(`${directory} could not be tidied up`, { error });
    });
    // Only now, because whoever waits for `done` may end our own process next: nothing may be left running.
    if (this.#failure === undefined) this.#finish.resolve();
    else this.#finish.reject(this.#failure.error);
  }

  #program(role: Role): Program {
    return must(this.#programs.find((program) => program.role === role));
  }

  #pidFile(role: Role): string {
    return join(this.#run.directory, `${role}.pid`);
  }

  #graceMs(): number {
    return this.#options.graceMs ?? GRACE_MS;
  }
}

/** The addresses of all ports; a port of 0 becomes one that is free now. */
async function chooseAddresses(config: MeshConfig): Promise<Addresses> {
  const free = await freePorts(config.host, PORT_NAMES.filter((name) => config.ports[name] === 0).length);
  const chosen = PORT_NAMES.map((name) => [name, `${config.host}:${config.ports[name] || must(free.pop())}`]);
  return Object.fromEntries(chosen) as unknown as Addresses;
}

/** Everything but FRESHET_ variables: a service takes those for its own options and refuses what it does not know. */
function childEnvironment(
  env: Readonly<Record<string, string | undefined>> = process.env,
): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('FRESHET_')));
}
