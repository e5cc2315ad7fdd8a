/**
 * One comparison of two schemas: what was found, which pairs were met, and how much work is left.
 *
 * Owns the bound of work, the memory of pairs, and the rule for cycles: a pair that is met again within itself holds
 * unless something else breaks it (data is finite, so the cycle ends in data). What such an assumption made true is
 * forgotten when the assumption fails. Does not know keywords. Pure.
 */
import { type CompatibilityPolicy, InvalidSchema } from '../../schema.ts';
import { type Change, type ChangeType, isCompatibleChange } from '../changes.ts';
import type { SchemaView } from '../schema-view.ts';

/** Deeper schemas are refused rather than a stack overrun. */
const DEPTH_MAX = 250;
/** Ids stay below it, since each costs a step. */
const ID_MAX = 2 ** 26;
/** What a pair costs, beside what its keywords cost: making two views is dear. */
const STEPS_PER_PAIR = 10;

export type Compare = (comparison: Comparison, reader: SchemaView, writer: SchemaView, path: string) => void;

interface Shared {
  readonly policy: CompatibilityPolicy;
  readonly compare: Compare;
  stepsLeft: number;
  depth: number;
  /** Verdicts of pairs; true also while a pair is being judged. */
  readonly verdicts: Map<number, boolean>;
  /** The pairs that were found true, oldest first. */
  readonly trail: number[];
}

export class Comparison {
  readonly #shared: Shared;
  /** Undefined: only whether there is an incompatible change is asked. */
  readonly changes: Change[] | undefined;
  #failed = false;
  readonly #met = new Set<number>();

  private constructor(shared: Shared, changes: Change[] | undefined) {
    this.#shared = shared;
    this.changes = changes;
  }

  /** All changes between two schemas. Throws InvalidSchema when that takes more than `stepsMax`. */
  static run(
    reader: SchemaView,
    writer: SchemaView,
    options: { readonly policy: CompatibilityPolicy; readonly stepsMax: number; readonly compare: Compare },
  ): readonly Change[] {
    const { policy, compare, stepsMax } = options;
    const shared: Shared = { policy, compare, stepsLeft: stepsMax, depth: 0, verdicts: new Map(), trail: [] };
    const changes: Change[] = [];
    new Comparison(shared, changes).descend(reader, writer, '#');
    return changes;
  }

  /** Whether there is no need to go on. */
  get isDecided(): boolean {
    return this.#failed && this.changes === undefined;
  }

  report(type: ChangeType, path: string): void {
    this.changes?.push({ type, path });
    if (!isCompatibleChange(type, this.#shared.policy)) this.#failed = true;
  }

  /** Counts work. */
  step(count = 1): void {
    this.#shared.stepsLeft -= count;
    if (this.#shared.stepsLeft < 0)
      throw new InvalidSchema('Comparing the two schemas takes too many steps.', { tooLarge: true });
  }

  /** Compares a pair below this one; each pair is told once, at the first place where it is met. */
  descend(reader: SchemaView, writer: SchemaView, path: string): void {
    this.step(STEPS_PER_PAIR);
    if (this.changes === undefined) {
      if (!this.accepts(reader, writer)) this.#failed = true;
      return;
    }
    const key = pairKey(reader, writer);
    if (this.#met.has(key)) return;
    this.#met.add(key);
    this.#enter(() => this.#shared.compare(this, reader, writer, path));
  }

  /** Whether all that the writer allows, the reader allows. Reports nothing. */
  accepts(reader: SchemaView, writer: SchemaView): boolean {
    this.step();
    const { verdicts, trail, compare } = this.#shared;
    const key = pairKey(reader, writer);
    const known = verdicts.get(key);
    if (known !== undefined) return known;
    this.step(STEPS_PER_PAIR);
    const before = trail.length;
    verdicts.set(key, true);
    const probe = new Comparison(this.#shared, undefined);
    this.#enter(() => compare(probe, reader, writer, ''));
    if (probe.#failed) {
      for (const assumed of trail.splice(before)) verdicts.delete(assumed);
      verdicts.set(key, false);
      return false;
    }
    trail.push(key);
    return true;
  }

  #enter(work: () => void): void {
    if (++this.#shared.depth > DEPTH_MAX)
      throw new InvalidSchema(`The schemas nest deeper than ${DEPTH_MAX} levels.`, { tooLarge: true });
    work();
    this.#shared.depth--;
  }
}

function pairKey(reader: SchemaView, writer: SchemaView): number {
  return reader.id * ID_MAX + writer.id;
}
