/**
 * Counts the on-demand features that could not be computed, for the status. Owns the bound: a caller decides what fails,
 * and how often, but not how much is remembered.
 */
import { compareStrings } from '@freshet/values/compare.ts';

/** So many features are counted, each by itself; more than that is not told. */
export const COUNTED_FEATURES_MAX = 1000;
const MESSAGE_CHARS_MAX = 200;

export interface CountedErrors {
  readonly service: string;
  readonly feature: string;
  errors: number;
  lastError: string;
}

export class OnDemandErrorCounts {
  readonly #byFeature = new Map<string, CountedErrors>();

  add(service: string, feature: string, error: Error): void {
    const name = `${service}:${feature}`;
    let counted = this.#byFeature.get(name);
    if (counted === undefined) {
      if (this.#byFeature.size >= COUNTED_FEATURES_MAX) return;
      counted = { service, feature, errors: 0, lastError: '' };
      this.#byFeature.set(name, counted);
    }
    counted.errors += 1;
    counted.lastError = error.message.slice(0, MESSAGE_CHARS_MAX);
  }

  /** By service and feature. */
  list(): CountedErrors[] {
    return [...this.#byFeature.values()].sort(
      (a, b) => compareStrings(a.service, b.service) || compareStrings(a.feature, b.feature),
    );
  }
}
