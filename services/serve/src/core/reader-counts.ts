/**
 * Who reads which service, counted for the lineage. Owns the bounds: a caller decides what it calls itself and how often it
 * reads, but not how much is remembered. Nothing of a call is kept but its service, the reader's name and the time: no key, no
 * value, no address.
 *
 * Counts leave in numbered reports. One is given again until it was told, while new calls are counted for the next: the
 * registry adds each number once, so an answer that was lost counts nothing twice.
 * Limit: `NAMED_MAX` pairs of service and reader between two reports; policy: a reader beyond counts as OTHER of its service;
 * of services beyond `SERVICES_MAX` nothing is counted.
 */

/** How a program names itself. */
export const READER_HEADER = 'freshet-reader';
/** Readers that are not counted by themselves: too many, or named as nobody is. */
export const OTHER_READERS = '(other)';

const NAMED_MAX = 400;
/** Each may have two more: those without a name, and the others. */
const SERVICES_MAX = 300;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,62}$/;

export interface CountedReads {
  readonly service: string;
  /** Empty: it does not say. */
  readonly reader: string;
  reads: bigint;
  lastUs: bigint;
}

interface Report {
  readonly number: bigint;
  readonly reads: readonly CountedReads[];
}

export class ReaderCounts {
  #byService = new Map<string, Map<string, CountedReads>>();
  #named = 0;
  #given: Report = { number: 0n, reads: [] };
  #isTold = true;

  add(service: string, name: string, nowUs: number): void {
    let readers = this.#byService.get(service);
    if (readers === undefined) {
      if (this.#byService.size >= SERVICES_MAX) return;
      readers = new Map();
      this.#byService.set(service, readers);
    }
    let counted = readers.get(name);
    if (counted === undefined) {
      const reader = this.#readerOf(name);
      counted = readers.get(reader) ?? { service, reader, reads: 0n, lastUs: 0n };
      readers.set(reader, counted);
    }
    counted.reads += 1n;
    counted.lastUs = BigInt(nowUs);
  }

  /** The report that was not told yet, or else a new one of all that was counted since. */
  next(): Report {
    if (!this.#isTold) return this.#given;
    const reads = [...this.#byService.values()].flatMap((readers) => [...readers.values()]);
    this.#byService = new Map();
    this.#named = 0;
    this.#given = { number: this.#given.number + 1n, reads };
    this.#isTold = false;
    return this.#given;
  }

  told(number: bigint): void {
    if (number === this.#given.number) this.#isTold = true;
  }

  /** As whom a new one is counted. */
  #readerOf(name: string): string {
    if (name === '') return '';
    if (!NAME.test(name) || this.#named >= NAMED_MAX) return OTHER_READERS;
    this.#named += 1;
    return name;
  }
}
