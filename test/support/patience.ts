/** For tests that kill processes: calls that are made again while a process, or the connection to it, is coming back. */
import { setTimeout as pause } from 'node:timers/promises';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { untilServed } from '../../examples/storefront/quiesce.ts';
import type { MeshUnderTest } from './mesh-under-test.ts';

const TRIES = 200;
const PAUSE_MS = 100;

/** What the call gives, at last; throws what is no UNAVAILABLE, and that after some 20 s. */
export async function patiently<T>(call: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await call();
    } catch (error) {
      if (tries === TRIES || !isFreshetError(error, 'UNAVAILABLE')) throw error;
      await pause(PAUSE_MS);
    }
  }
}

/** As untilServed, also while processes are still coming back. */
export function untilServedAgain(under: MeshUnderTest): Promise<void> {
  return patiently(() => untilServed(under.sql, under.mesh.addresses, new AbortController().signal));
}
