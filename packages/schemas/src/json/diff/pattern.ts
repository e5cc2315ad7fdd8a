/**
 * Whether a name matches a pattern, for the plain patterns that names of properties have.
 *
 * Owns a small matcher in linear steps: literals, classes and repetitions, anchored or not. The regular expressions of
 * a schema are never given to the language's engine, whose time a hostile pattern decides; what is not plain (groups,
 * alternatives, assertions) has the answer undefined, and callers take both for possible. Pure.
 */

const PATTERN_CHARACTERS_MAX = 100;
const NAME_CHARACTERS_MAX = 200;

interface Atom {
  readonly matches: (character: string) => boolean;
  readonly isOptional: boolean;
  readonly repeats: boolean;
}

const ATOM = /\\([dDwWsS.^$*+?()[\]{}|/\\-])|\[(\^?)((?:[^\]\\[]|\\[dws.^$*+?()[\]{}|/\\-])+)\]|([^\\^$*+?()[\]{}|])/y;
const QUANTIFIER = /[*+?]?/y;
const CLASSES: Readonly<Record<string, (character: string) => boolean>> = {
  d: (character) => character >= '0' && character <= '9',
  w: (character) => /^[A-Za-z0-9_]$/.test(character),
  s: (character) => /^\s$/.test(character),
};

/** True or false when that is known, undefined when the pattern is not plain. */
export function matchesPattern(pattern: string, name: string): boolean | undefined {
  if (pattern.length > PATTERN_CHARACTERS_MAX || name.length > NAME_CHARACTERS_MAX) return undefined;
  // Beyond the basic plane, what one character is depends on a flag.
  if (/[\ud800-\udfff]/.test(pattern + name)) return undefined;
  const fromStart = pattern.startsWith('^');
  const toEnd = /(^|[^\\])(\\\\)*\$$/.test(pattern);
  const atoms = readAtoms(pattern.slice(fromStart ? 1 : 0, toEnd ? -1 : undefined));
  return atoms === undefined ? undefined : run(atoms, name, { fromStart, toEnd });
}

function readAtoms(text: string): readonly Atom[] | undefined {
  const atoms: Atom[] = [];
  for (let at = 0; at < text.length; ) {
    ATOM.lastIndex = at;
    const found = ATOM.exec(text);
    if (found === null) return undefined;
    at = ATOM.lastIndex;
    QUANTIFIER.lastIndex = at;
    const quantifier = QUANTIFIER.exec(text)?.[0] ?? '';
    at += quantifier.length;
    const [, escaped, negated, members, plain] = found;
    const matches = members === undefined ? single(escaped, plain) : memberOf(members, negated === '^');
    if (matches === undefined) return undefined;
    atoms.push({ matches, isOptional: /[*?]/.test(quantifier), repeats: /[*+]/.test(quantifier) });
  }
  return atoms;
}

function single(escaped: string | undefined, plain: string | undefined): Atom['matches'] {
  if (plain === '.') return (character) => !/[\n\r\u2028\u2029]/.test(character);
  if (plain !== undefined) return (character) => character === plain;
  const kind = CLASSES[(escaped ?? '').toLowerCase()];
  if (kind === undefined) return (character) => character === escaped;
  return escaped === escaped?.toLowerCase() ? kind : (character) => !kind(character);
}

/** What is between brackets: characters, ranges and classes. */
function memberOf(members: string, isNegated: boolean): Atom['matches'] | undefined {
  const parts = [...members.matchAll(/\\(.)|([^\\])/g)].map(([, escaped, plain]) => ({
    escaped,
    text: escaped ?? plain ?? '',
  }));
  const tests: Atom['matches'][] = [];
  for (let index = 0; index < parts.length; index++) {
    const part = parts[index];
    const end = parts[index + 2];
    if (part === undefined) continue;
    const kind = part.escaped === undefined ? undefined : CLASSES[part.escaped];
    const isRange = parts[index + 1]?.text === '-' && parts[index + 1]?.escaped === undefined && end !== undefined;
    if (!isRange) tests.push(kind ?? ((character) => character === part.text));
    else if (kind !== undefined || (end.escaped !== undefined && CLASSES[end.escaped] !== undefined)) return undefined;
    else {
      tests.push((character) => character >= part.text && character <= end.text);
      index += 2;
    }
  }
  return (character) => tests.some((test) => test(character)) !== isNegated;
}

/** Follows all ways through the atoms at once: work is the product of the two lengths. */
function run(atoms: readonly Atom[], name: string, anchors: { fromStart: boolean; toEnd: boolean }): boolean {
  let states = closure(new Set([0]), atoms);
  for (const character of name) {
    if (states.has(atoms.length) && !anchors.toEnd) return true;
    const next = new Set<number>(anchors.fromStart ? [] : [0]);
    for (const state of states) {
      const atom = atoms[state];
      if (atom === undefined || !atom.matches(character)) continue;
      next.add(state + 1);
      if (atom.repeats) next.add(state);
    }
    states = closure(next, atoms);
  }
  return states.has(atoms.length);
}

/** With the states that are reached without a character. */
function closure(states: Set<number>, atoms: readonly Atom[]): Set<number> {
  for (const state of states) if (atoms[state]?.isOptional) states.add(state + 1);
  return states;
}
