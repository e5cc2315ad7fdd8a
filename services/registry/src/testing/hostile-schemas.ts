/** For tests and measures: schemas that are right and take as long as an engine lets them. */

/**
 * A pair of JSON schemas whose judgement goes to the engine's limit of steps: alternatives within alternatives, of which
 * each has to be tried against each.
 */
export function hostilePair(depth = 6, width = 4): { readonly now: string; readonly old: string } {
  return { now: JSON.stringify(alternatives(depth, width, 1)), old: JSON.stringify(alternatives(depth, width, 0)) };
}

function alternatives(depth: number, width: number, more: number): object {
  if (depth === 0) return { type: 'string', maxLength: 10 + more };
  const members = Array.from({ length: width }, (_, n) => ({
    type: 'object',
    properties: { a: alternatives(depth - 1, width, more + n) },
    required: ['a'],
  }));
  return { anyOf: members };
}
