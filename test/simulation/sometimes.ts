/**
 * What must happen sometimes, over many seeds: every fault, and every path by which the mesh recovers from one. A
 * simulator in which a path is never taken proves nothing about it. Pure.
 */
const MUST_HAPPEN: readonly RegExp[] = [
  ...['commit', 'rollback', 'define', 'kill', 'power', 'stop', 'slow', 'cut', 'reset', 'lag', 'scramble', 'flip'],
  ...['lose-key', 'full', 'clock', 'checkpoint', 'database-away', 'database-silent'],
].map((kind) => (typeof kind === 'string' ? new RegExp(`^did: ${kind}$`) : kind));

/** What never happened. */
export function unseenPaths(seen: Readonly<Record<string, number>>): string[] {
  const names = Object.keys(seen);
  return MUST_HAPPEN.filter((pattern) => !names.some((name) => pattern.test(name))).map(String);
}
