/**
 * Decides how far the database may be told that we are. Pure.
 *
 *     opened(1) opened(2) opened(3)        position after each: 1 → A, 2 → (none: no commit ends there), 3 → C
 *     settled(2) settled(1)                 durable = A        (3 is still on its way)
 *     settled(3)                            durable = C
 *
 * Invariant I1: `durable` is the end of a commit whose every row, and every row before it, is durable in the log or in
 * quarantine. A keepalive moves it only when nothing is on its way and no transaction is open.
 */
import { assert } from '@freshet/kit/assert.ts';
import { laterLsn } from './lsn.ts';

interface Flight {
  readonly id: number;
  position: bigint | undefined;
  settled: boolean;
}

export class Acknowledger {
  readonly #flights: Flight[] = [];
  #nextId = 1;
  #durable: bigint;

  /** Starts from what is durable already. */
  constructor(durable: bigint) {
    this.#durable = durable;
  }

  /** Everything before this position is durable. Never goes back. */
  get durable(): bigint {
    return this.#durable;
  }

  /** Whether nothing is on its way. */
  get isIdle(): boolean {
    return this.#flights.length === 0;
  }

  /** Something is on its way, in order; position: the last commit that ends in it. Returns what to settle it by. */
  opened(position: bigint | undefined): number {
    const id = this.#nextId++;
    this.#flights.push({ id, position, settled: false });
    return id;
  }

  /** A commit ended that left nothing to send beside what is on its way already. */
  passed(position: bigint): void {
    const last = this.#flights.at(-1);
    if (last === undefined) this.#durable = laterLsn(this.#durable, position);
    else last.position = position;
  }

  /** All of it is durable. */
  settled(id: number): void {
    const flight = this.#flights.find((candidate) => candidate.id === id);
    assert(flight !== undefined && !flight.settled, 'I1: something settled that was not on its way');
    flight.settled = true;
    while (this.#flights[0]?.settled === true) {
      const { position } = this.#flights.shift() as Flight;
      if (position !== undefined) this.#durable = laterLsn(this.#durable, position);
    }
  }

  /** The server has nothing more before this position; counts only when nothing is open. */
  keepalive(position: bigint, inTransaction: boolean): void {
    if (!inTransaction && this.isIdle) this.#durable = laterLsn(this.#durable, position);
  }
}
