/**
 * What is different between two lists of an enum's labels. Owns what is taken for a rename: a label that stands where
 * another one stood, between the same neighbours that stayed.
 */
import type { Change } from './change.ts';

/** The differences, in the order of the labels. Two empty lists: no enum, and no difference. */
export function changesOfEnum(column: string, before: readonly string[], after: readonly string[]): Change[] {
  if (before.length === 0 || after.length === 0) return [];
  const changes: Change[] = [];
  const stay = new Set(after.filter((label) => before.includes(label)));
  const newByPlace = new Map(
    after.flatMap((label, index) => (stay.has(label) ? [] : [[placeOf(after, index, stay), label] as const])),
  );
  const renamedTo = new Set<string>();
  before.forEach((label, index) => {
    if (stay.has(label)) return;
    const now = newByPlace.get(placeOf(before, index, stay));
    if (now === undefined)
      changes.push({ kind: 'enum_label_removed', column, before: label, after: '', readable: true });
    else {
      renamedTo.add(now);
      changes.push({ kind: 'enum_label_renamed', column, before: label, after: now, readable: true });
    }
  });
  for (const label of after) {
    if (!stay.has(label) && !renamedTo.has(label))
      changes.push({ kind: 'enum_label_added', column, before: '', after: label, readable: true });
  }
  const order = (labels: readonly string[]): string => labels.filter((label) => stay.has(label)).join(', ');
  if (order(before) !== order(after))
    changes.push({ kind: 'enum_reordered', column, before: order(before), after: order(after), readable: true });
  return changes;
}

/** After which label that stays, and as the how manieth behind it. */
function placeOf(labels: readonly string[], index: number, stay: ReadonlySet<string>): string {
  let behind = 0;
  for (let i = index - 1; i >= 0; i--) {
    const label = labels[i] ?? '';
    if (stay.has(label)) return JSON.stringify([label, behind]);
    behind++;
  }
  return JSON.stringify([null, behind]);
}
