/**
 * Goal: a process is whole or gone: a fault that nobody caught ends it with one line, a stop ends in bounded time, what
 * reads its lines may go away, and running out of file descriptors is survived. Method: services of a few lines as
 * processes of their own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { afterEach, expect, it } from 'vitest';
import { createGrpcClient } from './grpc/client.ts';

const at = (file: string): string => JSON.stringify(fileURLToPath(new URL(file, import.meta.url)));
const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

interface Service {
  readonly child: ChildProcess;
  /** The messages of its log so far. */
  readonly messages: () => string[];
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/** A service whose start is the code; `prefix`: a command of the shell before it. */
function run(start: string, { options = '{}', prefix = '' } = {}): Service {
  const program = `
    import { runService } from ${at('./lifecycle.ts')};
    import { createLogger } from ${at('./logger.ts')};
    const log = createLogger({ name: 'tiny' });
    await runService(async (context) => {
      const alive = setInterval(() => {}, 1000);
      ${start}
      log.info('up');
    }, { log, ...${options} });`;
  const child = spawn('sh', [
    '-c',
    `${prefix} exec "$0" "$@"`,
    process.execPath,
    '--input-type=module-typescript',
    '-e',
    program,
  ]);
  children.push(child);
  let err = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    err += chunk.toString();
  });
  return {
    child,
    messages: () =>
      err
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => String(JSON.parse(line).message)),
    ended: new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal }))),
  };
}

const SOON = { timeout: 20_000 };

it.each([
  ['an exception that nobody caught', `setTimeout(() => { throw new Error('lost'); }, 1);`],
  ['a rejection that nobody handles', `setTimeout(() => { void Promise.reject(new Error('lost')); }, 1);`],
])(
  '%s ends the process with 1 and one line',
  async (_, start) => {
    const service = run(start);
    expect(await service.ended).toEqual({ code: 1, signal: null });
    expect(service.messages().at(-1)).toBe('a fault that cannot be survived');
  },
  30_000,
);

it('a stop that hangs is given up, the steps after it still run, and all of it is bounded', async () => {
  const service = run(
    `context.onStop('the store', async () => { log.info('store closed'); });
     for (const name of ['one', 'two', 'three']) context.onStop(name, () => new Promise(() => {}));`,
    { options: '{ graceMs: 200, stopMs: 300 }' },
  );
  await expect.poll(service.messages, SOON).toContain('up');
  service.child.kill('SIGTERM');
  expect(await service.ended).toEqual({ code: 1, signal: null });
  expect(service.messages().slice(-5)).toEqual([
    'stopping',
    'stopping three failed',
    'stopping two failed',
    'stopping one failed',
    'store closed',
  ]);
}, 30_000);

it('goes on when nobody reads its lines any more, and still stops in order', async () => {
  const service = run(`setInterval(() => log.info('x'.repeat(10_000)), 1);
     setTimeout(() => process.exit(42), 1_500);`);
  await expect.poll(service.messages, SOON).toContain('up');
  service.child.stderr?.destroy();
  expect(await service.ended).toEqual({ code: 42, signal: null });
}, 30_000);

it.skipIf(process.platform === 'win32')(
  'refuses connections while it has no file descriptor left, and answers again when it has',
  async () => {
    const service = run(
      `const { createGrpcServer } = await import(${at('./grpc/server.ts')});
       const { createHttpHost } = await import(${at('./http/host.ts')});
       const { LogService } = await import(${at('../../gen/src/freshet/log/v1/log_pb.ts')});
       const server = createGrpcServer({ log }).add(LogService, { describeLog: async () => ({}) });
       const http = createHttpHost({ log, routes: () => {}, extra: (_, response) => { response.end('up'); return true; } });
       context.onStop('http', () => http.close());
       log.info('at ' + (await server.listen('127.0.0.1:0')).address + ' ' + (await http.listen('127.0.0.1:0')).address);`,
      { prefix: 'ulimit -n 48;' },
    );
    await expect.poll(service.messages, SOON).toContain('up');
    const [, grpc = '', http = ''] = service.messages()[0]?.split(' ') ?? [];
    const client = createGrpcClient(LogService, grpc);
    const sockets: Socket[] = [];
    try {
      const ask = (): Promise<string> =>
        fetch(`http://${http}/`, { headers: { connection: 'close' } }).then((r) => r.text());
      expect(await ask()).toBe('up');
      for (const address of [grpc, http]) {
        for (let i = 0; i < 60; i++) {
          const socket = connect(Number(address.split(':')[1]), '127.0.0.1');
          socket.on('error', () => {});
          sockets.push(socket);
        }
      }
      // Somewhere in there it had none left; whoever was refused saw his connection close.
      await expect
        .poll(() => sockets.filter((socket) => socket.destroyed || socket.closed).length, SOON)
        .toBeGreaterThan(10);
      for (const socket of sockets.splice(0)) socket.destroy();
      await expect.poll(() => ask().catch(() => 'refused'), SOON).toBe('up');
      await expect
        .poll(
          () =>
            client.describeLog({}, { deadlineMs: 500 }).then(
              () => 'ok',
              () => 'failed',
            ),
          SOON,
        )
        .toBe('ok');
      service.child.kill('SIGTERM');
      expect(await service.ended).toEqual({ code: 0, signal: null });
    } finally {
      for (const socket of sockets) socket.destroy();
      client.close();
    }
  },
  60_000,
);
