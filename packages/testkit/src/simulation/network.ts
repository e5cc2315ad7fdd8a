/**
 * A network between simulated processes: calls and streams that take time, break, hang, and carry copies.
 *
 * Owns delivery. In order within a stream, as TCP delivers, unless a link is set to break even that: then what is
 * delivered twice or out of order must be noticed by whoever receives it. A stream holds a bounded number of messages
 * on their way; a receiver that does not take them holds up the sender, as HTTP/2's flow control does.
 *
 *      client ──open──▶ server          a partition holds up everything, in both directions, until it heals or a
 *      client ◀──messages── server      keepalive gives the connection up; a server that dies resets it at once
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';
import type { SimProcess } from './sim-process.ts';

/** How a link between two addresses behaves now. */
export interface Link {
  /** Nothing gets through. */
  cut: boolean;
  /** Microseconds that a message takes. */
  delayUs: readonly [low: number, high: number];
  /** A message in so many is delivered twice; 0: none. */
  duplicateOneIn: number;
  /** A message in so many changes places with the next one; 0: none. */
  reorderOneIn: number;
  /** A message in so many is lost, and the stream goes on; 0: none. */
  loseOneIn: number;
}

/** A link that nothing is done to. */
export const HEALTHY: Readonly<Link> = {
  cut: false,
  delayUs: [50, 400],
  duplicateOneIn: 0,
  reorderOneIn: 0,
  loseOneIn: 0,
};
/** Messages of a stream on their way. */
const WINDOW = 4;
/** How often a full stream asks for room before it takes it easier. */
const ASKS_AT_ONCE = 200;
/** After so long without an answer a connection is given up, microseconds. */
const KEEPALIVE_US = 20_000_000;
const POLL_US = 5_000;
/** How often an open stream asks whether it must be given up, microseconds. */
const KEEPALIVE_CHECK_US = 500_000;

interface Connection {
  readonly ends: string;
  readonly address: string;
  readonly server: SimProcess;
  /** Breaks it, for both ends. */
  readonly reset: () => void;
  /** The server is gone: the client learns it when it looks next. */
  readonly lose: () => void;
}

interface Listener<S> {
  readonly process: SimProcess;
  readonly service: S;
}

export class Network {
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #listeners = new Map<string, Listener<unknown>>();
  readonly #links = new Map<string, Link>();
  /** Connections that are open now, to break them. */
  readonly #open = new Set<Connection>();
  delivered = 0;

  constructor(scheduler: Scheduler, random: Random) {
    this.#scheduler = scheduler;
    this.#random = random;
  }

  /** Offers a service at an address, until the process dies or another one listens there. */
  listen(address: string, process: SimProcess, service: unknown): void {
    this.#listeners.set(address, { process, service });
    for (const connection of this.#open)
      if (connection.address === address && connection.server !== process) connection.lose();
  }

  /** The link between two names, to be changed by faults. */
  link(a: string, b: string): Link {
    const name = ends(a, b);
    let link = this.#links.get(name);
    if (link === undefined) {
      link = { ...HEALTHY };
      this.#links.set(name, link);
    }
    return link;
  }

  heal(): void {
    for (const link of this.#links.values()) Object.assign(link, HEALTHY);
  }

  /** Resets the connections between two names; how many there were. */
  reset(a: string, b: string): number {
    const name = ends(a, b);
    const open = [...this.#open].filter((connection) => connection.ends === name);
    for (const connection of open) connection.reset();
    return open.length;
  }

  /** One call. `copy` is what the wire makes of an answer. A server that dies is noticed at once, as by a stream. */
  async call<S, T>(
    client: SimProcess,
    address: string,
    run: (service: S) => Promise<T>,
    copy: (answer: T) => T,
  ): Promise<T> {
    const { service, process } = await this.#reach<S>(client, address);
    let forget = (): void => {};
    const answer = await new Promise<T>((resolve, reject) => {
      const timeout = setKeepalive(client, () => reject(unreachable(address)));
      forget = process.onKill(() => client.after(POLL_US, () => reject(unreachable(address))));
      process.after(0, () => {
        run(service).then(
          (value) => this.#deliver(client, address, timeout, () => resolve(copy(value))),
          (error: unknown) => this.#deliver(client, address, timeout, () => reject(error as Error)),
        );
      });
    }).finally(() => forget());
    return answer;
  }

  /** A stream from a server. Ends as the server's does, or with UNAVAILABLE when the connection breaks. */
  async *stream<S, T>(
    client: SimProcess,
    address: string,
    open: (service: S, signal: AbortSignal) => AsyncIterable<T>,
    copy: (message: T) => T,
    signal: AbortSignal,
  ): AsyncGenerator<T> {
    if (signal.aborted) return;
    const { service, process } = await this.#reach<S>(client, address);
    if (signal.aborted) return;
    const link = this.link(client.name, address);
    const pipe = new Pipe<T>(client);
    const server = new AbortController();
    const bornUs = this.#scheduler.nowUs;
    const giveUp = (): void => {
      if (this.#open.has(connection)) broken();
    };
    const lose = (): void => client.after(POLL_US - ((this.#scheduler.nowUs - bornUs) % POLL_US), giveUp);
    const connection: Connection = {
      ...{ ends: ends(client.name, address), address, server: process, lose },
      reset: () => broken(),
    };
    const forget = process.onKill(lose);
    const broken = (): void => {
      this.#open.delete(connection);
      forget();
      pipe.fail(unreachable(address));
      // The server learns it a little later, or not at all while it is cut off: it then goes on for a while.
      process.after(this.#random.between(100, link.cut ? KEEPALIVE_US : 2_000), () => server.abort(closed()));
    };
    this.#open.add(connection);
    const onAbort = (): void => {
      pipe.fail(signal.reason);
      broken();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const keepAlive = (): void => {
      if (!this.#open.has(connection)) return;
      if (link.cut && pipe.idleUs() > KEEPALIVE_US) broken();
      else client.after(KEEPALIVE_CHECK_US, keepAlive);
    };
    client.after(KEEPALIVE_CHECK_US, keepAlive);
    const pump = { pipe, process, client, link, copy, server: server.signal, onTheWay: 0, lastUs: 0 };
    void this.#pump(open(service, server.signal), pump);
    try {
      for (;;) {
        const message = await pipe.take();
        if (message === undefined) return;
        yield message.value;
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      if (this.#open.has(connection)) broken();
    }
  }

  async #pump<T>(messages: AsyncIterable<T>, to: Pump<T>): Promise<void> {
    const { pipe, process, client, link, copy, server } = to;
    const deliver = (action: () => void): void => this.#send(client, link, to, action);
    try {
      for await (const message of messages) {
        if (server.aborted) return;
        const value = copy(message);
        this.delivered += 1;
        const isLost = link.loseOneIn > 0 && this.#random.oneIn(link.loseOneIn);
        const times = link.duplicateOneIn > 0 && this.#random.oneIn(link.duplicateOneIn) ? 2 : 1;
        for (let time = 0; time < times && !isLost; time++) deliver(() => pipe.put(value));
        // Room for the next one is only asked for by a process that runs, and less and less often of one that stands still.
        for (let asked = 0; pipe.waiting + to.onTheWay >= WINDOW && !server.aborted && process.alive; asked++) {
          const slower = asked < ASKS_AT_ONCE ? 1 : 50;
          await process.delay(100 * slower, 300 * slower);
        }
      }
      deliver(() => pipe.end());
    } catch (error) {
      deliver(() => pipe.fail(error));
    }
  }

  /** Delivers to the client after the link's delay, in order (unless the link breaks it), and not while it is cut. */
  #send<T>(client: SimProcess, link: Link, to: Pump<T>, action: () => void): void {
    const [low, high] = link.delayUs;
    const atUs = this.#scheduler.nowUs + this.#random.between(low, high);
    const isLate = link.reorderOneIn > 0 && this.#random.oneIn(link.reorderOneIn);
    to.lastUs = isLate ? to.lastUs : Math.max(atUs, to.lastUs + 1);
    const dueUs = isLate ? Math.max(atUs, to.lastUs) + 5_000 : to.lastUs;
    to.onTheWay += 1;
    const attempt = (): void => {
      if (link.cut) client.after(POLL_US, attempt);
      else {
        to.onTheWay -= 1;
        action();
      }
    };
    client.after(dueUs - this.#scheduler.nowUs, attempt);
  }

  #deliver(client: SimProcess, address: string, timeout: { clear(): void }, action: () => void): void {
    const link = this.link(client.name, address);
    const attempt = (): void => {
      if (link.cut) client.after(POLL_US, attempt);
      else {
        timeout.clear();
        action();
      }
    };
    client.after(this.#random.between(...link.delayUs), attempt);
  }

  /** Who listens at the address, once the connection stands. Throws UNAVAILABLE. */
  async #reach<S>(client: SimProcess, address: string): Promise<Listener<S>> {
    const link = this.link(client.name, address);
    for (let waitedUs = 0; link.cut; waitedUs += POLL_US) {
      if (waitedUs > KEEPALIVE_US) throw unreachable(address);
      await client.delay(POLL_US, POLL_US);
    }
    await client.delay(...link.delayUs);
    const listener = this.#listeners.get(address);
    if (listener === undefined || !listener.process.alive) throw unreachable(address);
    return listener as Listener<S>;
  }
}

interface Pump<T> {
  readonly pipe: Pipe<T>;
  readonly process: SimProcess;
  readonly client: SimProcess;
  readonly link: Link;
  readonly copy: (message: T) => T;
  readonly server: AbortSignal;
  onTheWay: number;
  lastUs: number;
}

/** What has arrived and was not taken yet. */
class Pipe<T> {
  readonly #client: SimProcess;
  readonly #arrived: { readonly value: T }[] = [];
  #ended = false;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;
  #lastUs: number;

  constructor(client: SimProcess) {
    this.#client = client;
    this.#lastUs = client.monotonicUs();
  }

  get waiting(): number {
    return this.#arrived.length;
  }

  idleUs(): number {
    return this.#client.monotonicUs() - this.#lastUs;
  }

  put(value: T): void {
    this.#lastUs = this.#client.monotonicUs();
    if (this.#failure !== undefined || this.#ended) return;
    this.#arrived.push({ value });
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#wake?.();
  }

  /** The next message; undefined at the end. What arrived before a failure is taken first. */
  async take(): Promise<{ readonly value: T } | undefined> {
    for (;;) {
      const next = this.#arrived.shift();
      if (next !== undefined) return next;
      if (this.#failure !== undefined) throw this.#failure.error;
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

function setKeepalive(client: SimProcess, run: () => void): { clear(): void } {
  let isSet = true;
  client.after(KEEPALIVE_US, () => {
    if (isSet) run();
  });
  return {
    clear: () => {
      isSet = false;
    },
  };
}

function ends(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}

function unreachable(address: string): FreshetError {
  return new FreshetError('UNAVAILABLE', `${address} cannot be reached`);
}

function closed(): DOMException {
  return new DOMException('the connection is closed', 'AbortError');
}
