/**
 * Positions in Postgres' write-ahead log: 64-bit numbers, written "16/B374D848" by Postgres. Kept as bigint, because
 * they pass 2^53. A position names the next byte: everything before it has been seen. Pure.
 */

/** "16/B374D848" as a number; undefined when it is no position. */
export function parseLsn(text: string): bigint | undefined {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (match === null) return undefined;
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

/** As Postgres writes it. */
export function formatLsn(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffff_ffffn).toString(16).toUpperCase()}`;
}

/** The later of two positions. */
export function laterLsn(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

/** The earlier of two positions, of which either may be unknown. */
export function earlierLsn(a: bigint | undefined, b: bigint | undefined): bigint | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return b < a ? b : a;
}
