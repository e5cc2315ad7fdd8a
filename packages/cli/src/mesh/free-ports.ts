/** Free ports of this machine, chosen once before the processes start, so that a restarted one is where it was. */

import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:net';

/** That many different ports which nobody listens on now. Somebody else may still take one before it is used. */
export async function freePorts(host: string, count: number): Promise<number[]> {
  const servers: Server[] = [];
  try {
    // All are held open together, so that none is told twice.
    for (let i = 0; i < count; i++) {
      const server = createServer();
      servers.push(server);
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(0, host, resolve);
      });
    }
    return servers.map((server) => (server.address() as AddressInfo).port);
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }
}
