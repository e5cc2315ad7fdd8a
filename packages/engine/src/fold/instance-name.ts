/** The name under which a view instance's states are stored: the view's id and the instance's number, in hex. */

export function instanceName(viewId: Uint8Array, instance: number): string {
  return hexOf(viewId) + instance.toString(16).padStart(8, '0');
}

/** Bytes in lower-case hex. */
export function hexOf(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

/** The bytes of lower-case hex. */
export function bytesOfHex(hex: string): Uint8Array {
  const bytes = new Uint8Array(hex.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}
