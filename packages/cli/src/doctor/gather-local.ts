/**
 * Reads what there is on this machine of a mesh: directories, ports, processes, limits. Judges nothing, changes
 * nothing (a port is listened on for a moment), and needs no process of the mesh to run.
 */
import { constants } from 'node:fs';
import { access, readdir, stat, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { lockHolder } from '@freshet/kit/directory-lock.ts';
import { type MeshConfig, PORT_NAMES, ROLES, type Role } from '../mesh/mesh-config.ts';
import { livingProcess } from '../mesh/pid-file.ts';
import type { AsideFacts, DirectoryFacts, Room } from './judge-disks.ts';
import type { MachineFacts, ProcessUse } from './judge-machine.ts';
import type { PortFacts } from './judge-ports.ts';
import type { ProcessesFacts, ProcessFacts } from './judge-processes.ts';
import { isStopped, openFiles, openFilesLimit, portHolder } from './proc.ts';

/** Files below a directory that was put aside are counted to this many, so that a look stays short. */
const ASIDE_FILES_MAX = 10_000;
const ASIDE_SHOWN_MAX = 20;
/** How deep directories put aside may lie: data_dir/compute/shards/3.aside. */
const ASIDE_DEPTH = 4;

/** The data directory of the mesh and those of its services, as far as they are directories of their own. */
export async function gatherDirectories(config: MeshConfig): Promise<DirectoryFacts[]> {
  const paths = ROLES.map((role) => {
    const own = config.options[role]['data-dir'];
    return [role, typeof own === 'string' ? own : join(config.dataDir, role)] as const;
  });
  const mesh = ['the mesh', config.dataDir] as const;
  return Promise.all([mesh, ...paths].map(([what, path]) => gatherDirectory(what, path)));
}

async function gatherDirectory(what: string, path: string): Promise<DirectoryFacts> {
  const found = await stat(path).catch(() => undefined);
  const nearest = found === undefined ? await nearestDirectory(path) : path;
  // What lies below the mesh's own directory is told by the services.
  const aside = found === undefined || what === 'the mesh' ? [] : await findAside(path, ASIDE_DEPTH);
  return {
    path,
    what,
    ...(found !== undefined && { owned: { uid: found.uid, mode: found.mode } }),
    notWritable: await access(nearest, constants.W_OK | constants.X_OK).then(() => undefined, errorCode),
    room: await roomOf(nearest),
    aside: aside.slice(0, ASIDE_SHOWN_MAX),
  };
}

async function nearestDirectory(path: string): Promise<string> {
  let at = path;
  while (dirname(at) !== at) {
    at = dirname(at);
    if (
      await stat(at).then(
        (found) => found.isDirectory(),
        () => false,
      )
    )
      return at;
  }
  return at;
}

async function roomOf(path: string): Promise<Room> {
  const { bavail, blocks, bsize, ffree, files } = await statfs(path);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize, freeInodes: ffree, totalInodes: files };
}

/** What services put out of their way: "shard-3.aside-0001", "quarantine.jsonl.damaged-1". */
async function findAside(directory: string, depth: number): Promise<AsideFacts[]> {
  const found: AsideFacts[] = [];
  for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
    const path = join(directory, entry.name);
    if (/\.(aside|damaged)\b/.test(entry.name)) found.push(await sizeOf(path));
    else if (entry.isDirectory() && depth > 1) found.push(...(await findAside(path, depth - 1)));
  }
  return found;
}

async function sizeOf(path: string): Promise<AsideFacts> {
  const names = await readdir(path, { recursive: true }).catch(() => []);
  let bytes = 0;
  let atMs = 0;
  for (const name of ['', ...names.slice(0, ASIDE_FILES_MAX)]) {
    const file = await stat(join(path, name)).catch(() => undefined);
    if (file === undefined) continue;
    if (file.isFile()) bytes += file.size;
    atMs = Math.max(atMs, file.mtimeMs);
  }
  return { path, bytes, atUs: Math.round(atMs * 1000) };
}

/** The mesh's processes by their pid files, and what a killed mesh left in its run directory. */
export async function gatherProcesses(config: MeshConfig): Promise<ProcessesFacts> {
  const run = join(config.dataDir, 'run');
  const names = await readdir(run).catch((): string[] => []);
  const processes: ProcessFacts[] = [];
  for (const what of ROLES) {
    const pidFile = join(run, `${what}.pid`);
    const pid = await livingProcess(pidFile);
    const noted = names.includes(`${what}.pid`);
    processes.push({ what, pidFile, noted, pid, stopped: pid === undefined ? undefined : await isStopped(pid) });
  }
  return {
    supervisor: await lockHolder(run),
    processes,
    urlFiles: names.filter((name) => /^postgres-.*\.url$/.test(name)).map((name) => join(run, name)),
  };
}

export async function gatherMachine(config: MeshConfig, { processes }: ProcessesFacts): Promise<MachineFacts> {
  const uses = await Promise.all(
    processes.map(async ({ what, pid }): Promise<ProcessUse[]> => {
      if (pid === undefined) return [];
      const [used, limit] = await Promise.all([openFiles(pid), openFilesLimit(pid)]);
      const use = used === undefined || limit === undefined ? undefined : { used, soft: limit.soft };
      return [{ what, pid, openFiles: use }];
    }),
  );
  return {
    nodeVersion: process.version,
    openFiles: await openFilesLimit('self'),
    // In a container less than the machine has: Node knows the smaller of both.
    memoryBytes: Math.min(totalmem(), process.constrainedMemory() || Infinity),
    partitions: config.partitions,
    processes: uses.flat(),
  };
}

const ROLE_OF_PORT: Readonly<Record<(typeof PORT_NAMES)[number], Role>> = {
  registry: 'registry',
  registryHttp: 'registry',
  ingest: 'ingest',
  ingestHttp: 'ingest',
  compute: 'compute',
  computeHttp: 'compute',
  serve: 'serve',
  serveHttp: 'serve',
};

/** The ports that the configuration names; one that is chosen at each start (0) is not among them. */
export async function gatherPorts(config: MeshConfig, { processes }: ProcessesFacts): Promise<PortFacts[]> {
  const ports: PortFacts[] = [];
  for (const name of PORT_NAMES) {
    const port = config.ports[name];
    if (port === 0) continue;
    const role = ROLE_OF_PORT[name];
    const taken = await tryListen(config.host, port);
    ports.push({
      address: `${config.host}:${port}`,
      what: name === role ? role : `${role} (HTTP)`,
      ourPid: processes.find(({ what }) => what === role)?.pid,
      taken,
      holder: taken === undefined ? undefined : await portHolder(port),
    });
  }
  return ports;
}

function tryListen(host: string, port: number): Promise<string | undefined> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', (error) => resolve(errorCode(error)));
    server.listen(port, host.replace(/^\[|\]$/g, ''), () => server.close(() => resolve(undefined)));
  });
}

function errorCode(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
