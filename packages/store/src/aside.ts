/**
 * The names of what was put out of the way: "shard-3.aside-0001". Pure.
 *
 * Of a store set aside again and again the oldest and the two newest are kept: the oldest is the one that may have been
 * good (a wrong setting put it there), the newest tell what goes on.
 */

const PATTERN = /^\.aside-(\d{4,})$/;

function numberOf(base: string, name: string): number | undefined {
  if (!name.startsWith(base)) return undefined;
  const match = PATTERN.exec(name.slice(base.length));
  return match === null ? undefined : Number(match[1]);
}

function numbered(base: string, names: readonly string[]): (readonly [number, string])[] {
  const found: (readonly [number, string])[] = [];
  for (const name of names) {
    const number = numberOf(base, name);
    if (number !== undefined) found.push([number, name]);
  }
  return found.sort(([a], [b]) => a - b);
}

/** A name that is not taken, after all that are. */
export function nextAside(base: string, names: readonly string[]): string {
  const newest = numbered(base, names).at(-1)?.[0] ?? 0;
  return `${base}.aside-${String(newest + 1).padStart(4, '0')}`;
}

/** Those that are not kept. */
export function asidesToRemove(base: string, names: readonly string[]): string[] {
  return numbered(base, names)
    .slice(1, -2)
    .map(([, name]) => name);
}
