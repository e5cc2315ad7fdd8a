/**
 * Under which name the rows of a joined table are stored: as an instance of no view.
 *
 *     f7ab1e7ab1e5, where a view's id begins (a hash: that one begins so is one chance in 2^48)
 *     route: 8 hex digits, offset of the record they begin with: 12, owner: 8
 *
 * Names sort by route, then by beginning. The owner is the instance of a view that they were made for in a build, by its
 * number plus one, or 0 for the live fold: two readers of one log have rows of their own. Who made them says nothing about
 * what is in them, so the digest of a shard leaves the owner out (F1).
 */
const MARK = 'f7ab1e7ab1e5';
const OWNER_DIGITS = 8;

export function tableRowsName(place: {
  readonly route: number;
  readonly began: number;
  readonly owner: number;
}): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
  return MARK + hex(place.route, 8) + hex(place.began, 12) + hex(place.owner, OWNER_DIGITS);
}

/** Whether the instance is no view's but holds rows of a joined table. */
export function isTableRows(instance: string): boolean {
  return instance.startsWith(MARK);
}

/** The name without the owner. */
export function tableRowsIdentity(name: string): string {
  return name.slice(0, -OWNER_DIGITS);
}
