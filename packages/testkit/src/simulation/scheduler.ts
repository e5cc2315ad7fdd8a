/**
 * One clock and one queue for everything that waits in a simulation: what happens next is what is due first.
 *
 * Owns true time, and the order of events of equal time. Between two events everything that can go on without waiting
 * does so. Deterministic as long as what runs in it waits for nothing but this queue: no timers, no files, no sockets.
 */
interface Event {
  readonly atUs: number;
  readonly order: number;
  readonly run: () => void;
}

export class Scheduler {
  /** True time, microseconds since the Unix epoch. Nobody in the simulation can read it but through a clock. */
  nowUs: number;
  /** A heap by time, then by order of scheduling. */
  readonly #queue: Event[] = [];
  #order = 0;
  /** Events run so far. */
  steps = 0;

  constructor(nowUs: number) {
    this.nowUs = nowUs;
  }

  /** Runs something after a delay in microseconds. */
  after(delayUs: number, run: () => void): void {
    this.#push({ atUs: this.nowUs + Math.max(0, Math.round(delayUs)), order: this.#order++, run });
  }

  /** How many events wait. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Runs events until true time is reached, or `stop` says so after one of them. Throws what an event throws. */
  runUntil(atUs: number, stop: () => boolean = () => false): Promise<void> {
    return inTurns(() => {
      const next = this.#queue[0];
      if (next === undefined || next.atUs > atUs) {
        this.nowUs = Math.max(this.nowUs, atUs);
        return false;
      }
      this.#pop();
      this.nowUs = next.atUs;
      this.steps += 1;
      next.run();
      return true;
    }, stop);
  }

  #push(event: Event): void {
    const queue = this.#queue;
    let at = queue.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(event, queue[parent] as Event)) break;
      queue[at] = queue[parent] as Event;
      at = parent;
    }
    queue[at] = event;
  }

  #pop(): void {
    const queue = this.#queue;
    const last = queue.pop() as Event;
    if (queue.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= queue.length) break;
      const right = queue[child + 1];
      if (right !== undefined && before(right, queue[child] as Event)) child += 1;
      if (!before(queue[child] as Event, last)) break;
      queue[at] = queue[child] as Event;
      at = child;
    }
    queue[at] = last;
  }
}

/** How many turns are asked for at once. */
const TURNS = 64;

/**
 * Takes steps until one says that there are no more, or `stop` says so after one: each in a turn of its own, so that
 * whatever it set free goes on until it waits again. Turns are asked for by the bundle: Node runs all immediates of one
 * round of its loop with everything that each of them set free between them, and a round costs more than most steps.
 */
function inTurns(step: () => boolean, stop: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    let isDone = false;
    let isFirst = true;
    const turn = (isLast: boolean): void => {
      if (isDone) return;
      try {
        isDone = (!isFirst && stop()) || !step();
        isFirst = false;
        if (isDone) resolve();
        else if (isLast) ask();
      } catch (error) {
        isDone = true;
        reject(error as Error);
      }
    };
    const ask = (): void => {
      for (let i = 1; i <= TURNS; i++) setImmediate(turn, i === TURNS);
    };
    ask();
  });
}

function before(a: Event, b: Event): boolean {
  return a.atUs < b.atUs || (a.atUs === b.atUs && a.order < b.order);
}
