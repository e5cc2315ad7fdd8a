/**
 * The value rules of a source as a route asks them of each row, and what of them is only told.
 *
 * Owns which broken rule puts a row aside (the first that does more than tell), and the count of rows that broke one and passed.
 * Does not own what a rule means (packages/contracts). A null rate is asked of the stream, whose newest rows it is about: a row
 * that is released is no newest row, so only expressions are asked of it. Bounded by the rules of a source. No clock.
 */
import { ValueRules } from '@freshet/contracts/value-rules.ts';
import type { Contract, ValueRule } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { Scalar } from '@freshet/values/scalar.ts';

/** Rows that broke a rule and passed. */
export interface ToldRule {
  readonly rows: number;
  /** Why the newest did, in a sentence without values of it. */
  readonly reason: string;
}

export class RowRules {
  readonly #stream: ValueRules;
  readonly #released: ValueRules;
  readonly #told = new Map<string, ToldRule>();

  private constructor(stream: ValueRules, released: ValueRules) {
    this.#stream = stream;
    this.#released = released;
  }

  /** Undefined: there are none. Throws INVALID_DEFINITION, which plan should have. */
  static compile(rules: readonly ValueRule[], contract: Contract): RowRules | undefined {
    if (rules.length === 0) return undefined;
    const released = rules.filter(({ rule }) => rule.case !== 'nullRate');
    return new RowRules(ValueRules.compile(rules, contract), ValueRules.compile(released, contract));
  }

  /** Those that rows under an earlier contract can be asked: what it has no such column for cannot be. */
  static compileKnown(rules: readonly ValueRule[], contract: Contract): RowRules | undefined {
    const known = rules.filter((rule) => {
      try {
        ValueRules.compile([rule], contract);
        return true;
      } catch (error) {
        if (isFreshetError(error, 'INVALID_DEFINITION')) return false;
        throw error;
      }
    });
    return RowRules.compile(known, contract);
  }

  /** The columns that rules which keep rows back ask of, by their places in the contract. */
  get holding(): ReadonlySet<number> {
    return this.#stream.holding;
  }

  /** By rule, what broke it and passed, since the rules were compiled. */
  get told(): ReadonlyMap<string, ToldRule> {
    return this.#told;
  }

  /**
   * Why the row may not pass, with the rule's name; undefined: it may. Values are in the order of the contract's columns; those of
   * `unsent` columns did not change and were not sent, so that nobody knows whether they are null.
   */
  check(row: readonly Scalar[], isReleased: boolean, unsent?: readonly number[]): string | undefined {
    let why: string | undefined;
    for (const { rule, onlyTell, reason } of (isReleased ? this.#released : this.#stream).check(row, unsent)) {
      if (onlyTell) this.#told.set(rule, { rows: (this.#told.get(rule)?.rows ?? 0) + 1, reason });
      else why ??= `rule ${rule}: ${reason}`;
    }
    return why;
  }
}
