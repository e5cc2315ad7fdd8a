/** The name under which a view instance's states are stored: the view's id and the instance's number, in hex. */
import { toHex } from '@freshet/kit/hex.ts';

export function instanceName(viewId: Uint8Array, instance: number): string {
  return toHex(viewId) + instance.toString(16).padStart(8, '0');
}
