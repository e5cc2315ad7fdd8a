/** Ports of this machine, chosen once before the processes start, so that a restarted one is where it was. */

import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:net';
import { FreshetError } from '@freshet/kit/errors.ts';

/** That many different ports which nobody listens on now. Somebody else may still take one before it is used. */
export async function freePorts(host: string, count: number): Promise<number[]> {
  const servers: Server[] = [];
  try {
    // All are held open together, so that none is told twice.
    for (let i = 0; i < count; i++) servers.push(await listen(host, 0));
    return servers.map((server) => (server.address() as AddressInfo).port);
  } finally {
    await Promise.all(servers.map(close));
  }
}

/**
 * Throws INVALID_CONFIG when somebody listens at one of the addresses: the process that is meant to would not come up,
 * and whoever is there may answer in its place.
 */
export async function checkPortsFree(addresses: readonly string[]): Promise<void> {
  const problems: FreshetError[] = [];
  for (const address of addresses) {
    const at = address.lastIndexOf(':');
    try {
      await close(await listen(address.slice(0, at).replace(/^\[|\]$/g, ''), Number(address.slice(at + 1))));
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      problems.push(
        new FreshetError('INVALID_CONFIG', `cannot listen on ${address}: ${message}`, {
          remedy: 'stop what uses that address, or choose other ports',
          place: address,
          cause,
        }),
      );
    }
  }
  const [first, ...also] = problems;
  if (first !== undefined) {
    throw new FreshetError('INVALID_CONFIG', first.message, { remedy: first.remedy, place: first.place, also });
  }
}

function listen(host: string, port: number): Promise<Server> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve(server));
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
