/** Bytes as strings without detours: calls with a fixed number of arguments are several times faster than loops. */

const fromCharCode = String.fromCharCode;

/** The bytes from start to end with one character per byte; keyString() of the same bytes. */
export function latin1(b: Uint8Array, start: number, end: number): string {
  const length = end - start;
  // The length of a key of one int64 or timestamp, which most keys are.
  if (length === 9) return nine(b, start);
  let text = '';
  let at = start;
  for (; at + 8 <= end; at += 8) text += eight(b, at);
  for (; at < end; at++) text += fromCharCode(b[at] as number);
  return text;
}

/** The bytes as text if all are ASCII, else undefined. */
export function asciiText(b: Uint8Array, start: number, end: number): string | undefined {
  let any = 0;
  for (let i = start; i < end; i++) any |= b[i] as number;
  return any > 0x7f ? undefined : latin1(b, start, end);
}

type B = number;

function eight(b: Uint8Array, i: number): string {
  return fromCharCode(
    b[i] as B,
    b[i + 1] as B,
    b[i + 2] as B,
    b[i + 3] as B,
    b[i + 4] as B,
    b[i + 5] as B,
    b[i + 6] as B,
    b[i + 7] as B,
  );
}

function nine(b: Uint8Array, i: number): string {
  return fromCharCode(
    b[i] as B,
    b[i + 1] as B,
    b[i + 2] as B,
    b[i + 3] as B,
    b[i + 4] as B,
    b[i + 5] as B,
    b[i + 6] as B,
    b[i + 7] as B,
    b[i + 8] as B,
  );
}
