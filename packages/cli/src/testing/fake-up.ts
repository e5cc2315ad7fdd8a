/** For tests: a mesh of fake services in a process of its own, so that it can be killed. Arguments: data_dir, notes. */
import { fileURLToPath } from 'node:url';
import { silentLogger } from '@freshet/kit/logger.ts';
import { startMesh } from '../mesh/mesh.ts';
import { ROLES } from '../mesh/mesh-config.ts';

const [dataDir = '', notes = ''] = process.argv.slice(2);
const main = fileURLToPath(new URL('./fake-service.ts', import.meta.url));
const mesh = await startMesh({
  config: { dataDir, postgres: {}, ports: 'free' },
  log: silentLogger,
  signal: new AbortController().signal,
  layout: (_, at) => ROLES.map((role) => ({ role, main, address: at[role], args: [role, at[role], notes] })),
});
process.stdout.write(`${JSON.stringify(ROLES.map((role) => mesh.pid(role)))}\n`);
