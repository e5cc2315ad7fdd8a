/**
 * One connection to Postgres: simple queries, COPY out, and the two-way COPY that replication runs on.
 *
 * Written by hand because a capture needs two things that client libraries do not give together: nothing is read from
 * the socket that was not asked for (so back-pressure reaches the server), and every byte that is sent upstream is
 * ours (so nothing is acknowledged that is not durable).
 *
 * Owns a socket. One command at a time. Texts come as the session writes them: ISO dates, UTC, hex bytea. A server that
 * sends no byte for a minute while a command waits for it has stopped, though its kernel still answers for it: the
 * connection is broken then. Of a replication stream, whoever reads it watches the silence.
 */
import type { Socket } from 'node:net';
import { must } from '@freshet/kit/assert.ts';
import { type Clock, systemClock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { Authentication } from './authentication.ts';
import { type ConnectionTarget, describeTarget } from './connection-url.ts';
import { PgError } from './pg-error.ts';
import { openSocket, unreachable } from './pg-socket.ts';
import {
  Backend,
  type BackendMessage,
  columnNames,
  cString,
  dataRow,
  frontendMessage,
  MessageSplitter,
  parseErrorFields,
  startupMessage,
} from './wire.ts';

/** How a session must write values, whatever the role or the database is set to. */
const SESSION: Readonly<Record<string, string>> = {
  client_encoding: 'UTF8',
  DateStyle: 'ISO, YMD',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  bytea_output: 'hex',
  extra_float_digits: '3',
  // Ours are neither the statements that another session should wait long for nor the ones to be cut off.
  statement_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  lock_timeout: '15s',
  // A policy that would hide rows from a snapshot is an error instead.
  row_security: 'off',
};

/** As those above; a server refuses a session that names a setting it does not know. */
const TRANSACTION_TIMEOUT_SINCE = 17;

const CONNECT_MS_MAX = 15_000;
const CLOSE_MS_MAX = 1_000;
/** Longer than any command of ours is silent: those that wait for locks give up after lock_timeout. */
const SILENCE_MS_MAX = 60_000;
const SILENCE_LOOK_MS = 5_000;

export interface PgConnectionOptions {
  readonly target: ConnectionTarget;
  readonly applicationName: string;
  /** Speak the replication protocol, in the target's database. */
  readonly replication?: boolean | undefined;
  /** For the limits of time. */
  readonly clock?: Clock | undefined;
  /** How long a command may wait without a byte, milliseconds. Default a minute. */
  readonly silenceMsMax?: number | undefined;
}

/** What a query returned: texts, null for NULL. Of several statements, the last one's. */
export interface QueryResult {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | null)[])[];
}

export class PgConnection {
  readonly #socket: Socket;
  readonly #place: string;
  readonly #clock: Clock;
  /** Aborts when the connection is gone. */
  readonly #gone = new AbortController();
  readonly #splitter = new MessageSplitter();
  #pending: BackendMessage[] = [];
  #failure: Error | undefined;
  #ended = false;
  #wake: (() => void) | undefined;
  /** Since when a command waits for a byte; undefined: none does. */
  #waitingSinceUs: number | undefined;
  /** Settings that the server reported: server_version, in_hot_standby. */
  readonly parameters = new Map<string, string>();
  /** The server process, as pg_stat_activity has it. */
  backendPid = 0;

  private constructor(socket: Socket, place: string, clock: Clock) {
    this.#socket = socket;
    this.#place = place;
    this.#clock = clock;
    const notify = (): void => this.#notify();
    const end = (): void => {
      this.#ended = true;
      this.#gone.abort();
      this.#notify();
    };
    socket.on('readable', notify).on('end', end).on('close', end);
    socket.on('error', (error) => this.destroy(unreachable(place, error)));
  }

  /**
   * Connects and authenticates; the signal ends the attempt, not the connection.
   * Throws SOURCE_UNREACHABLE when nobody answers, PgError when the server refuses.
   */
  static async open(options: PgConnectionOptions, signal: AbortSignal): Promise<PgConnection> {
    const place = describeTarget(options.target);
    const clock = options.clock ?? systemClock;
    const settled = new AbortController();
    const late = new AbortController();
    const timing = clock.sleep(CONNECT_MS_MAX, settled.signal).then(
      () => late.abort(new DOMException(`no answer within ${CONNECT_MS_MAX / 1000} s`, 'TimeoutError')),
      () => undefined,
    );
    try {
      const limit = AbortSignal.any([signal, late.signal]);
      const connection = new PgConnection(await openSocket(options.target, limit), place, clock);
      const release = connection.destroyOn(limit);
      try {
        await connection.#start(options);
        await connection.#unlimitTransactions();
        void connection.#watchSilence(options.silenceMsMax ?? SILENCE_MS_MAX);
        return connection;
      } catch (error) {
        connection.#socket.destroy();
        throw error;
      } finally {
        release();
      }
    } finally {
      settled.abort();
      await timing;
    }
  }

  /** Breaks the connection when the signal aborts; returns what ends that. */
  destroyOn(signal: AbortSignal): () => void {
    const onAbort = (): void => {
      const reason = signal.reason as Error;
      const timedOut = reason.name === 'TimeoutError';
      this.destroy(
        timedOut ? unreachable(this.#place, reason) : new FreshetError('CANCELLED', 'given up', { cause: reason }),
      );
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    return () => signal.removeEventListener('abort', onAbort);
  }

  /** Runs SQL by the simple protocol. */
  async query(sql: string): Promise<QueryResult> {
    this.#send(frontendMessage('Q', cString(sql)));
    let columns: string[] = [];
    let rows: (string | null)[][] = [];
    let refusal: PgError | undefined;
    for (;;) {
      const { type, body } = await this.#next();
      if (type === Backend.rowDescription) {
        columns = columnNames(body);
        rows = [];
      } else if (type === Backend.dataRow) {
        rows.push(dataRow(body));
      } else if (type === Backend.error) {
        refusal ??= new PgError(parseErrorFields(body));
      } else if (type === Backend.readyForQuery) {
        if (refusal !== undefined) throw refusal;
        return { columns, rows };
      }
    }
  }

  /** Runs COPY … TO STDOUT and yields its bytes as they come; nothing is read ahead beyond the socket's buffer. */
  async *copyOut(sql: string): AsyncGenerator<Buffer> {
    this.#send(frontendMessage('Q', cString(sql)));
    let refusal: PgError | undefined;
    for (;;) {
      const pieces: Buffer[] = [];
      let ready = false;
      for (const { type, body } of await this.#batch()) {
        if (type === Backend.copyData) pieces.push(body);
        else if (type === Backend.error) refusal ??= new PgError(parseErrorFields(body));
        else if (type === Backend.readyForQuery) ready = true;
      }
      if (pieces.length > 0 && refusal === undefined)
        yield pieces.length === 1 ? must(pieces[0]) : Buffer.concat(pieces);
      if (!ready) continue;
      if (refusal !== undefined) throw refusal;
      return;
    }
  }

  /** Starts a two-way COPY; afterwards only readCopyData and writeCopyData may be used. */
  async startCopyBoth(sql: string): Promise<void> {
    this.#send(frontendMessage('Q', cString(sql)));
    for (;;) {
      const { type, body } = await this.#next();
      if (type === Backend.copyBoth) return;
      if (type === Backend.error) throw new PgError(parseErrorFields(body));
    }
  }

  /** What has come of the two-way COPY, at least one payload. Aborting the signal ends the waiting, not the connection. */
  async readCopyData(signal: AbortSignal): Promise<Buffer[]> {
    const wake = (): void => this.#notify();
    signal.addEventListener('abort', wake, { once: true });
    try {
      for (;;) {
        const payloads: Buffer[] = [];
        for (const { type, body } of await this.#batch(signal)) {
          if (type === Backend.copyData) payloads.push(body);
          else if (type === Backend.error) throw new PgError(parseErrorFields(body));
          else if (type === Backend.copyDone)
            throw unreachable(this.#place, new Error('the server ended the replication'));
        }
        if (payloads.length > 0) return payloads;
      }
    } finally {
      signal.removeEventListener('abort', wake);
    }
  }

  /** Sends a payload of the two-way COPY. Small and rare: the socket's buffer takes it. */
  writeCopyData(payload: Buffer): void {
    this.#send(frontendMessage('d', payload));
  }

  /** Ends the session in order, waiting a moment for the server to close. */
  async close(): Promise<void> {
    if (this.#socket.destroyed) return;
    const closed = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()));
    this.#socket.end(frontendMessage('X'));
    this.#socket.removeAllListeners('readable').resume();
    const ended = new AbortController();
    const timing = this.#clock.sleep(CLOSE_MS_MAX, ended.signal).then(
      () => this.#socket.destroy(),
      () => undefined,
    );
    await closed;
    ended.abort();
    await timing;
  }

  /** Breaks the connection with a reason, which whoever waits for it is told. */
  destroy(reason: Error): void {
    this.#failure ??= reason;
    this.#socket.destroy();
    this.#notify();
  }

  /** A snapshot is one transaction, as long as its tables are large. */
  async #unlimitTransactions(): Promise<void> {
    const version = Number.parseInt(this.parameters.get('server_version') ?? '', 10);
    if (version >= TRANSACTION_TIMEOUT_SINCE) await this.query('SET transaction_timeout = 0');
  }

  #send(bytes: Buffer): void {
    if (this.#failure !== undefined) throw this.#failure;
    this.#socket.write(bytes);
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  async #next(): Promise<BackendMessage> {
    if (this.#pending.length === 0) this.#pending = await this.#receive();
    return must(this.#pending.shift());
  }

  /** All messages that are there; waits for one. */
  async #batch(signal?: AbortSignal): Promise<BackendMessage[]> {
    const pending = this.#pending;
    if (pending.length === 0) return this.#receive(signal);
    this.#pending = [];
    return pending;
  }

  async #receive(signal?: AbortSignal): Promise<BackendMessage[]> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (signal?.aborted) throw new FreshetError('CANCELLED', 'reading was given up', { cause: signal.reason });
      const chunk = this.#socket.read() as Buffer | null;
      if (chunk !== null) {
        const messages = this.#splitter.push(chunk).filter((message) => !this.#isAside(message));
        if (messages.length > 0) return messages;
      } else if (this.#ended) {
        throw unreachable(this.#place, new Error('the server closed the connection'));
      } else {
        // With a signal it is a stream's reader, which may wait for as long as nothing is committed.
        if (signal === undefined) this.#waitingSinceUs = this.#clock.monotonicUs();
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#waitingSinceUs = undefined;
      }
    }
  }

  /** Breaks the connection when a command waits too long for a byte. Ends with the connection; never rejects. */
  async #watchSilence(silenceMsMax: number): Promise<void> {
    const { signal } = this.#gone;
    while (!signal.aborted) {
      await this.#clock.sleep(Math.min(SILENCE_LOOK_MS, silenceMsMax), signal).catch(() => undefined);
      const since = this.#waitingSinceUs;
      if (since === undefined || this.#clock.monotonicUs() - since < silenceMsMax * 1000) continue;
      this.destroy(unreachable(this.#place, new Error(`it has been silent for ${Math.round(silenceMsMax / 1000)} s`)));
    }
  }

  /** Takes care of what may come at any time. */
  #isAside({ type, body }: BackendMessage): boolean {
    if (type === Backend.parameterStatus) {
      const middle = body.indexOf(0);
      this.parameters.set(body.toString('utf8', 0, middle), body.toString('utf8', middle + 1, body.length - 1));
      return true;
    }
    return type === Backend.notice || type === Backend.notification;
  }

  async #start({ target, applicationName, replication }: PgConnectionOptions): Promise<void> {
    const { user, database } = target;
    const mode: Record<string, string> = replication === true ? { replication: 'database' } : {};
    this.#send(startupMessage({ user, database, application_name: applicationName, ...SESSION, ...mode }));
    const authentication = new Authentication(target);
    for (;;) {
      const { type, body } = await this.#next();
      if (type === Backend.readyForQuery) return;
      if (type === Backend.backendKeyData) this.backendPid = body.readInt32BE(0);
      if (type === Backend.error) throw new PgError(parseErrorFields(body));
      if (type === Backend.authentication) {
        const answer = await authentication.answer(body);
        if (answer !== undefined) this.#send(frontendMessage('p', answer));
      }
    }
  }
}

/** Opens a connection for as long as the work takes; the signal breaks it whatever it is doing. */
export async function withConnection<T>(
  options: PgConnectionOptions,
  signal: AbortSignal,
  work: (connection: PgConnection) => Promise<T>,
): Promise<T> {
  const connection = await PgConnection.open(options, signal);
  const release = connection.destroyOn(signal);
  try {
    return await work(connection);
  } finally {
    release();
    await connection.close();
  }
}
