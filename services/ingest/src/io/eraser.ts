/**
 * Erases entities at an ingest node, and keeps the receipts (docs/rfd/0003-erase.md).
 *
 *     noted, with the key ▶ out of the quarantine, and nothing read there before is on its way ▶ Erase record appended
 *         ▶ records below it out of the log ▶ what was set aside
 *         … other nodes, told by whoever asked (note) … ▶ complete: the Erase record out of the log, the key out of the note
 *
 * Owns that order; each step is durable before the next, and can be done again. One erase at a time. The quarantine is before
 * the record because what is released from there goes to the log: behind the record it would live again (docs/rfd/0003-erase.md).
 * Does not own which records are meant (core/erase-scope.ts), nor who may say that a place is done (core/erase-receipt.ts).
 */
import { createHash } from 'node:crypto';
import { basename, join } from 'node:path';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type ErasePlace, type EraseState, EraseStateSchema } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { ErasedSchema, LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { fromHex, toHex } from '@freshet/kit/hex.ts';
import { type FileSystem, removeDurably } from '@freshet/log/file-system.ts';
import type { Log, LogEraser } from '@freshet/log/log.ts';
import { encodeRecord } from '@freshet/log/record-writer.ts';
import { partitionOf } from '@freshet/values/partition.ts';
import { openPlace, putHolders, putNoStages, putPlace, putTold } from '../core/erase-receipt.ts';
import {
  databasesOf,
  eraseScope,
  keptOfEntity,
  quarantineMatcher,
  scopeOfBegun,
  untoldMatcher,
} from '../core/erase-scope.ts';
import type { QuarantineEntry } from '../core/quarantine.ts';
import { EraseFiles, type StoredErase } from './erase-file.ts';
import { onDisk } from './on-disk.ts';
import type { QuarantineLoans } from './quarantine-loans.ts';

/** How long rows that are on their way from the quarantine to the log may take. */
const LOANS_MS_MAX = 30_000;

export interface EraserOptions {
  /** The node's data directory. */
  readonly directory: string;
  readonly files: FileSystem;
  readonly log: Pick<Log, 'logId' | 'partitionCount' | 'append' | 'describe' | 'read'> & LogEraser;
  readonly quarantine: {
    remove(isUnwanted: (entry: QuarantineEntry) => boolean): Promise<number>;
    readonly loans: Pick<QuarantineLoans, 'over'>;
  };
  /** The ids of the compute nodes that have state of a partition, as far as they have told. */
  readonly holders: (partition: number) => readonly string[];
  /**
   * Resolves when all that a database has committed until now is in the log or in the quarantine, and does not come again. Throws
   * UNAVAILABLE, also when it takes too long.
   */
  readonly captured: (database: string, signal: AbortSignal) => Promise<void>;
  /** Those in force here. */
  readonly definitions: () => DefinitionSet | undefined;
  readonly clock: Clock;
  /** 16 random bytes. */
  readonly makeSalt: () => Uint8Array;
  readonly yieldNow: () => Promise<unknown>;
}

export interface EraseWish {
  readonly eraseId: string;
  /** Empty, with the key, for an erase that was begun. */
  readonly entity: string;
  readonly entityKey: Uint8Array;
  readonly setAside: boolean;
}

/** A step that is done, and the erase as it stands. */
export interface EraseStep {
  readonly step: 'appended' | 'log' | 'quarantine';
  readonly erase: EraseState;
}

export class Eraser {
  readonly #options: EraserOptions;
  readonly #files: EraseFiles;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: EraserOptions) {
    this.#options = options;
    this.#files = new EraseFiles(options.files, join(options.directory, 'erasures'));
  }

  /** As IngestService.EraseEntity says. */
  async *erase(wish: EraseWish, signal: AbortSignal): AsyncGenerator<EraseStep> {
    const leave = await this.#enter();
    try {
      const stored = (await this.#files.load(wish.eraseId)) ?? (await this.#begin(wish, signal));
      const { state } = stored;
      checkSame(state, wish);
      this.#checkLog(state);
      if (stored.isEnding === true) await this.#end(stored);
      if (state.completedAtUs === undefined) yield* this.#steps(stored, wish, signal);
      else yield { step: 'quarantine', erase: state };
    } finally {
      leave();
    }
  }

  /** As IngestService.NoteErased says. */
  async note(eraseId: string, places: readonly ErasePlace[], complete: boolean): Promise<EraseState> {
    const leave = await this.#enter();
    try {
      const stored = await this.#known(eraseId);
      const { state, appendFrom, rowsGoneAt } = stored;
      if (state.completedAtUs !== undefined) return state;
      this.#checkLog(state);
      if (stored.isEnding === true) {
        await this.#end(stored);
        return state;
      }
      putTold(state, places);
      putHolders(state, this.#options.holders(state.partition));
      if (complete) {
        const open = appendFrom === undefined ? openPlace(state) : 'log';
        if (open !== undefined) {
          throw new FreshetError('INVALID_REQUEST', `the erase is not complete: ${open}`, {
            remedy: 'ask for it again until every place is done',
          });
        }
        await this.#files.save({ state, appendFrom, rowsGoneAt, isEnding: true });
        await this.#end(stored);
        return state;
      }
      await this.#files.save({ state, appendFrom, rowsGoneAt });
      return state;
    } finally {
      leave();
    }
  }

  /** As IngestService.GetErase says. */
  async get(eraseId: string): Promise<EraseState> {
    return (await this.#known(eraseId)).state;
  }

  /** Waits for its turn; returns what ends it. */
  async #enter(): Promise<() => void> {
    const before = this.#turn;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#turn = promise;
    await before;
    return resolve;
  }

  async #known(eraseId: string): Promise<StoredErase> {
    const stored = await this.#files.load(eraseId);
    if (stored !== undefined) return stored;
    throw new FreshetError('INVALID_REQUEST', `there is no erase ${eraseId}`, {
      place: 'erase_id',
      remedy: 'give the id that the erase was begun with, to the ingest node that it was begun at',
    });
  }

  async #begin({ eraseId, entity, entityKey }: EraseWish, signal: AbortSignal): Promise<StoredErase> {
    const { log, clock, makeSalt, definitions } = this.#options;
    if (entity === '' || entityKey.length === 0) await this.#known(eraseId);
    const scope = eraseScope(definitions(), entity, entityKey);
    await this.#checkNoSnapshot();
    // What was committed before, and perhaps deleted there since, would else come behind the erase.
    for (const database of databasesOf(definitions(), scope)) await this.#options.captured(database, signal);
    const partition = partitionOf(entityKey, log.partitionCount);
    const { partitions } = await log.describe();
    const state = create(EraseStateSchema, {
      eraseId,
      entity,
      entityKey,
      salt: makeSalt(),
      askedAtUs: BigInt(Math.floor(clock.nowUs())),
      logId: fromHex(log.logId),
      partition,
      routes: [...scope.routes],
      views: [...scope.views],
    });
    state.keyHash = hashOf(state);
    putNoStages(state);
    for (const other of scope.mentions) {
      putPlace(state, {
        kind: 'outside',
        place: `records of entity ${other}`,
        done: true,
        detail: 'they come from the same tables and may name this entity in a column; they go as the log is trimmed',
        count: 0n,
      });
    }
    const stored = { state, appendFrom: must(partitions[partition]).end };
    await this.#files.save(stored);
    return stored;
  }

  async *#steps(stored: StoredErase, { setAside }: EraseWish, signal: AbortSignal): AsyncGenerator<EraseStep> {
    const { state, appendFrom } = stored;
    const isOut = state.places.some(({ kind, done }) => kind === 'quarantine' && done);
    if (appendFrom !== undefined || !isOut) await this.#eraseFromQuarantine(stored, signal);
    yield { step: 'quarantine', erase: state };
    if (appendFrom !== undefined) {
      await this.#append(state, appendFrom, signal);
      await this.#files.save({ state, appendFrom: undefined });
    }
    yield { step: 'appended', erase: state };
    await this.#eraseFromLog(state, signal);
    const rowsGoneAt = stored.rowsGoneAt ?? (await this.#endOf(state.partition));
    await this.#files.save({ state, appendFrom: undefined, rowsGoneAt });
    await this.#lookAside(state, setAside);
    putHolders(state, this.#options.holders(state.partition));
    await this.#files.save({ state, appendFrom: undefined, rowsGoneAt });
    yield { step: 'log', erase: state };
  }

  /** Appends the Erase record, unless one of the id is there already: the process may have ended in between. */
  async #append(state: EraseState, from: number, signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const { partition, entity, entityKey, eraseId, routes } = state;
    const { partitions } = await log.describe();
    const { start, end } = must(partitions[partition]);
    if (from < end) {
      for await (const { entries } of log.read(partition, Math.max(from, start), signal)) {
        for (const { record, offset, logTimeUs } of entries) {
          const { kind } = fromBinary(LogRecordSchema, record.slice());
          if (kind.case !== 'erase' || kind.value.eraseId !== eraseId) continue;
          state.offset = BigInt(offset);
          state.logTimeUs = BigInt(logTimeUs);
          return;
        }
        if ((entries.at(-1)?.offset ?? end) >= end - 1) break;
      }
    }
    signal.throwIfAborted();
    const record = encodeRecord({ case: 'erase', value: { entity, entityKey, eraseId, routes } });
    const { firstOffset, logTimeUs } = await log.append(partition, [record]);
    state.offset = BigInt(firstOffset);
    state.logTimeUs = BigInt(logTimeUs);
  }

  async #eraseFromLog(state: EraseState, signal: AbortSignal): Promise<void> {
    const { entityKey, partition, offset } = state;
    const scope = scopeOfBegun(this.#options.definitions(), state);
    const below = Number(offset);
    const kept = (record: Uint8Array): Uint8Array | undefined => keptOfEntity(record, scope, entityKey);
    const { records, segments } = await this.#eraseRecords(partition, { below, marker: entityKey, kept }, signal);
    const before = state.places.find(({ kind }) => kind === 'log')?.count ?? 0n;
    const files = segments.map(({ path, records: count }) => `${basename(path)} (${count})`).join(', ');
    putPlace(state, {
      kind: 'log',
      place: `partition ${partition}, records below offset ${offset}`,
      done: true,
      detail: files === '' ? 'nothing more was there' : `files rewritten: ${files}`,
      count: before + BigInt(records),
    });
  }

  #eraseRecords(
    partition: number,
    erasure: Parameters<LogEraser['erase']>[1],
    signal?: AbortSignal,
  ): ReturnType<LogEraser['erase']> {
    return this.#options.log.erase(partition, erasure, async () => {
      signal?.throwIfAborted();
      await this.#options.yieldNow();
    });
  }

  /**
   * Takes the entity out of the quarantine, and waits for what was read there before and goes to the log. Throws UNAVAILABLE when
   * rows are held that do not tell whose they are, and when those on their way take too long.
   */
  async #eraseFromQuarantine(stored: StoredErase, signal: AbortSignal): Promise<void> {
    const { state } = stored;
    const { quarantine, clock } = this.#options;
    const definitions = this.#options.definitions();
    const scope = scopeOfBegun(definitions, state);
    if (scope.key.length === 0) throw unknownKeys(state);
    const matches = quarantineMatcher(definitions, scope, state.entityKey);
    const isUntold = untoldMatcher(definitions, scope);
    let untold: { source: string; rows: number } | undefined;
    const removed = await quarantine.remove((entry) => {
      if (matches(entry)) return true;
      if (isUntold(entry)) untold = { source: entry.source, rows: (untold?.rows ?? 0) + 1 };
      return false;
    });
    const before = state.places.find(({ kind }) => kind === 'quarantine')?.count ?? 0n;
    const count = before + BigInt(removed);
    const told = {
      kind: 'quarantine',
      place: 'ingest',
      detail: 'entries whose key cannot be read are nobody’s, and stay',
    };
    putPlace(state, { ...told, done: false, count });
    await this.#files.save(stored);
    if (untold !== undefined) throw untoldRows(untold);
    await overInTime(quarantine.loans, clock, signal);
    putPlace(state, { ...told, done: true, count });
    await this.#files.save(stored);
  }

  /** Names what was set aside here, or removes it. */
  async #lookAside(state: EraseState, remove: boolean): Promise<void> {
    const { files, directory } = this.#options;
    state.places = state.places.filter(({ kind, place }) => kind !== 'set-aside' || !place.startsWith('ingest '));
    for (const path of await onDisk(directory, () => asidesIn(files, directory))) {
      if (remove) await onDisk(path, () => removeDurably(files, path));
      const detail = remove
        ? 'removed'
        : 'put aside because it was damaged, and may hold the entity: remove it, or ask again with --set-aside';
      putPlace(state, { kind: 'set-aside', place: `ingest ${path}`, done: remove, detail, count: 1n });
    }
  }

  async #checkNoSnapshot(): Promise<void> {
    const { files, directory } = this.#options;
    const databases = join(directory, 'postgres');
    if ((await files.stat(databases))?.kind !== 'directory') return;
    for (const { name } of await files.list(databases)) {
      const stages = join(databases, name, 'stages');
      if ((await files.stat(stages))?.kind !== 'directory') continue;
      if ((await files.list(stages)).length === 0) continue;
      throw new FreshetError('UNAVAILABLE', `the initial rows of database ${name} are being read`, {
        place: `database ${name}`,
        remedy:
          'ask again when they are in the log, which freshet status shows: what was read of them before would come behind ' +
          'the erase',
      });
    }
  }

  async #endOf(partition: number): Promise<number> {
    return must((await this.#options.log.describe()).partitions[partition]).end;
  }

  /**
   * A log that was made anew has none of the erase's records at its offsets, and what lies there now may be the entity's
   * of after the erase.
   */
  #checkLog({ eraseId, logId, completedAtUs }: EraseState): void {
    const { log } = this.#options;
    if (completedAtUs !== undefined || toHex(logId) === log.logId) return;
    throw new FreshetError('WRONG_LOG', `erase ${eraseId} was begun in log ${toHex(logId)}; this is ${log.logId}`, {
      place: 'erase_id',
      remedy: 'that log is no more: ask for the erase again, with another id, for what nodes still have of it',
    });
  }

  /**
   * The last step. It is durable by now that it is under way: whoever asked others once more for what they have done, when
   * the record is gone, would be told that there is no such erase.
   */
  async #end({ state, rowsGoneAt }: StoredErase): Promise<void> {
    await this.#complete(state, rowsGoneAt);
    await this.#files.save({ state, appendFrom: undefined, rowsGoneAt });
  }

  /**
   * The Erase record's key goes last: until now a shard or a replica could still need it. What stays in its place tells
   * whoever comes back with older state that nobody can take the entity out of that any more.
   */
  async #complete(state: EraseState, goneAt: number | undefined): Promise<void> {
    const { partition, offset, eraseId, entityKey } = state;
    const at = goneAt ?? (await this.#endOf(partition));
    const left = toBinary(ErasedSchema, create(ErasedSchema, { rowsGoneAt: BigInt(at) }));
    const kept = (record: Uint8Array): Uint8Array | undefined => {
      const { kind } = fromBinary(LogRecordSchema, record);
      return kind.case === 'erase' && kind.value.eraseId === eraseId ? left : undefined;
    };
    await this.#eraseRecords(partition, { below: Number(offset) + 1, marker: entityKey, kept });
    state.completedAtUs = BigInt(Math.floor(this.#options.clock.nowUs()));
    state.entityKey = new Uint8Array(0);
  }
}

/** Waits until nothing is on loan that was before, for so long. */
async function overInTime(loans: Pick<QuarantineLoans, 'over'>, clock: Clock, signal: AbortSignal): Promise<void> {
  const late = new AbortController();
  const done = new AbortController();
  const timer = clock.sleep(LOANS_MS_MAX, AbortSignal.any([signal, done.signal])).then(
    () => late.abort(new DOMException('rows on their way take too long', 'TimeoutError')),
    () => undefined,
  );
  try {
    await loans.over(AbortSignal.any([signal, late.signal]));
  } catch (error) {
    if (!late.signal.aborted || signal.aborted) throw error;
    throw new FreshetError('UNAVAILABLE', 'rows that are released from the quarantine do not come to the log', {
      place: 'the quarantine',
      remedy: 'see freshet status for what the log waits for, and ask again: nothing of the erase is in the log yet',
    });
  } finally {
    done.abort();
    await timer;
  }
}

function untoldRows({ source, rows }: { readonly source: string; readonly rows: number }): FreshetError {
  return new FreshetError('UNAVAILABLE', `${rows} held rows do not tell whose they are: their key has another name`, {
    place: `source ${source}`,
    remedy:
      `Release them (freshet quarantine release ${source} --map <the key's column>=<its name in the table>) or discard them ` +
      `(freshet quarantine discard ${source}), and ask again: nothing of the erase is in the log yet.`,
  });
}

function unknownKeys({ entity }: EraseState): FreshetError {
  return new FreshetError('UNAVAILABLE', `the definitions in force do not say any more what keys of ${entity} are`, {
    place: 'entity',
    remedy: 'put the entity in force again, and ask again: until then its rows in the quarantine cannot be told',
  });
}

function checkSame(state: EraseState, { eraseId, entity, entityKey }: EraseWish): void {
  if (entity === '' && entityKey.length === 0) return;
  const hash = hashOf({ salt: state.salt, entity, entityKey });
  if (Buffer.compare(hash, state.keyHash) === 0) return;
  throw new FreshetError('INVALID_REQUEST', `erase ${eraseId} is of another entity`, {
    place: 'erase_id',
    remedy: 'give each erase an id of its own',
  });
}

/** SHA-256 over the salt, the entity's name, a zero byte and the key. */
export function hashOf({ salt, entity, entityKey }: Pick<EraseState, 'salt' | 'entity' | 'entityKey'>): Uint8Array {
  return createHash('sha256').update(salt).update(entity).update(Buffer.of(0)).update(entityKey).digest();
}

/** Files and directories below a directory that were put out of the way for damage. */
async function asidesIn(files: FileSystem, directory: string): Promise<string[]> {
  const found: string[] = [];
  for (const { name, kind } of await files.list(directory)) {
    const path = join(directory, name);
    if (/\.damaged-\d+$/.test(name)) found.push(path);
    else if (kind === 'directory') found.push(...(await asidesIn(files, path)));
  }
  return found;
}
