/**
 * Collects everything that is wrong with a set of definitions, so that a user mends it in one round.
 *
 * Owns the bound (PROBLEMS_MAX) and the making of the one error out of many. Every problem has a place and a remedy.
 */
import type { Location } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** At most so many problems are told at once. */
export const PROBLEMS_MAX = 100;

/** Where something was written; what a builder made has no place. */
export type Place = Pick<Location, 'file' | 'line' | 'column'> | undefined;

/** "file:line:column", or nothing for what was not written in a file. */
export function formatPlace(place: Place): string {
  if (place === undefined || place.file === '') return '';
  return `${place.file}:${place.line}:${place.column}`;
}

export class Problems {
  readonly #errors: FreshetError[] = [];
  #more = 0;

  get count(): number {
    return this.#errors.length + this.#more;
  }

  /** Adds a problem: what is wrong in a sentence, and what to do about it. */
  add(place: Place, message: string, remedy: string): void {
    if (this.#errors.length >= PROBLEMS_MAX - 1) {
      this.#more++;
      return;
    }
    this.#errors.push(new FreshetError('INVALID_DEFINITION', message, { place: formatPlace(place), remedy }));
  }

  /** Throws INVALID_DEFINITION if there is any problem: the first one, with the others in `also`. */
  throwIfAny(): void {
    const [first, ...also] = this.#errors;
    if (first === undefined) return;
    if (this.#more > 0) {
      const message = `There are ${this.#more} more problems, which are not listed.`;
      also.push(new FreshetError('INVALID_DEFINITION', message, { remedy: 'Mend the ones listed, then try again.' }));
    }
    throw new FreshetError(first.code, first.message, { place: first.place, remedy: first.remedy, also });
  }
}
