/** freshet up: a whole mesh on this machine, from one file, until it is told to stop. */
import { createLogger } from '@freshet/kit/logger.ts';
import { startMesh } from '../mesh/mesh.ts';
import { readMeshConfig } from '../mesh/mesh-config.ts';
import { lineWriter } from '../output/log-lines.ts';
import { paint, type Terminal } from '../output/terminal.ts';

export async function upCommand(
  terminal: Terminal,
  options: { readonly file: string; readonly quiet?: boolean; readonly json?: boolean },
): Promise<void> {
  const config = await readMeshConfig(options.file);
  const writeLine = lineWriter(terminal, { json: options.json === true, quiet: options.quiet === true });
  const log = createLogger({ name: 'up', write: (line) => writeLine('up', line) });
  let kill: (() => void) | undefined;
  terminal.onImpatience(() => kill?.());
  const mesh = await startMesh({
    config,
    log,
    signal: terminal.signal,
    env: terminal.env,
    onLine: writeLine,
    onStarted: (started) => {
      kill = () => started.killAll();
    },
  });
  const { serve, serveHttp, registry } = mesh.addresses;
  log.info('the mesh is up', { serve, http: serveHttp, registry });
  if (options.json !== true) {
    terminal.out(
      `${paint(terminal, 'green', 'up')}: GetFeatures at ${serve} (gRPC) and http://${serveHttp} (Connect, JSON), registry at ${registry}\n` +
        `    ${paint(terminal, 'dim', `freshet status --registry ${registry}`)}\n`,
    );
  }
  await mesh.done;
}
