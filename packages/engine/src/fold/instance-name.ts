/**
 * The names under which a view instance's states, and its contributions, are stored: the view's id and the instance's number, in hex. The
 * number of contributions has its highest bit set, which no instance's own ever has, so that they lie behind all states
 * of the view.
 */
import { toHex } from '@freshet/kit/hex.ts';

const CONTRIBUTIONS = 2 ** 31;
const VIEW_CHARS = 32;

export function instanceName(viewId: Uint8Array, instance: number): string {
  return toHex(viewId) + instance.toString(16).padStart(8, '0');
}

/** Where the contributions of an instance are. */
export function contributionsName(viewId: Uint8Array, instance: number): string {
  return instanceName(viewId, CONTRIBUTIONS + instance);
}

/** The instance whose contributions have that name; undefined when it is a name of states. */
export function instanceOfContributions(name: string): string | undefined {
  const number = Number.parseInt(name.slice(VIEW_CHARS), 16);
  if (number < CONTRIBUTIONS) return undefined;
  return name.slice(0, VIEW_CHARS) + (number - CONTRIBUTIONS).toString(16).padStart(8, '0');
}
