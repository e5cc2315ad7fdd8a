/**
 * Goal: a set of keys kept up by replacements is the set counted from nothing, and any difference shows.
 * Method: random replacements against a Map; then one random thing is changed in the Map.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeySet, NO_VERSION } from './key-set.ts';

const key = fc.string({ maxLength: 6 });
const version = fc.oneof(fc.nat(5), fc.maxSafeNat());
const changes = fc.array(fc.tuple(key, fc.option(version, { nil: NO_VERSION })), { maxLength: 40 });

function counted(entries: Iterable<readonly [string, number]>): KeySet {
  const set = new KeySet();
  for (const [name, at] of entries) set.replace(name, NO_VERSION, at);
  return set;
}

function played(steps: readonly (readonly [string, number])[]): { set: KeySet; model: Map<string, number> } {
  const set = new KeySet();
  const model = new Map<string, number>();
  for (const [name, at] of steps) {
    set.replace(name, model.get(name) ?? NO_VERSION, at);
    if (at === NO_VERSION) model.delete(name);
    else model.set(name, at);
  }
  return { set, model };
}

describe('KeySet', () => {
  it('is the same however it came about, and survives being stored', () => {
    fc.assert(
      fc.property(changes, (steps) => {
        const { set, model } = played(steps);
        const again = counted([...model].reverse());
        expect(set.equals(again)).toBe(true);
        expect(new KeySet(set.keys, set.digest).equals(again)).toBe(true);
        expect(set.keys).toBe(model.size);
      }),
    );
  });

  it('shows a key that is missing, too many, or at another version', () => {
    fc.assert(
      fc.property(changes, key, version, (steps, name, at) => {
        const { set, model } = played(steps);
        fc.pre(model.get(name) !== at);
        expect(set.equals(counted([...model].filter(([other]) => other !== name).concat([[name, at]])))).toBe(false);
        for (const gone of model.keys()) {
          expect(set.equals(counted([...model].filter(([other]) => other !== gone)))).toBe(false);
        }
      }),
    );
  });
});
