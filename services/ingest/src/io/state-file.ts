/**
 * Keeps a source's state (core/source-state.ts) in a sealed JSON file. Owns the file's form; positions are written as
 * LSNs. A digit that a disk changed would be a position as good as any: hence the seal.
 *
 * A damaged file is refused, and never taken for an empty one: without it nobody knows what was acknowledged. Only a
 * resync goes on without it; the file is then kept aside.
 */
import { dirname } from 'node:path';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import { openSealedJson, readIfThere, readToActOn, replaceFile, sealJson } from '@freshet/log/whole-file.ts';
import type { Landmark } from '../core/commit-trail.ts';
import type { HistoryLoss } from '../core/history-notice.ts';
import { RESYNC_REMEDY } from '../core/lost-history.ts';
import { formatLsn, parseLsn } from '../core/lsn.ts';
import { EMPTY_STATE, type RouteState, type SourceState } from '../core/source-state.ts';
import { onDisk } from './on-disk.ts';
import { asidePath } from './set-aside.ts';

interface StateJson {
  /** 1 was not sealed. */
  readonly version: 1 | 2;
  readonly logId: string;
  readonly slot: SourceState['slot'];
  readonly systemId: string;
  // The next three are not in the first states that were written.
  readonly timeline?: number;
  readonly resync?: string;
  readonly generationFloor?: number;
  readonly acknowledgedLsn: string;
  readonly landmark?: { readonly endLsn: string; readonly atUs: number; readonly untilLsn: string };
  readonly loss?: { readonly atUs: number; readonly what: string; readonly fromLsn: string; readonly toLsn?: string };
  readonly logEnds?: readonly number[];
  readonly tailFrom?: readonly number[];
  readonly logLost?: string;
  readonly routes: readonly {
    readonly route: number;
    readonly generation: number;
    readonly phase: RouteState['phase'];
    readonly fromLsn: string;
    readonly stage: string;
    // Not in the first states that were written: such a route starts anew.
    readonly tableOid?: number;
    readonly contractVersion?: number;
    readonly contractLsn?: string;
    readonly shape?: RouteState['shape'];
    readonly fill?: RouteState['fill'];
    readonly parts?: RouteState['parts'];
    readonly unseen?: readonly number[] | undefined;
    readonly torn?: string | undefined;
    readonly values?: RouteState['values'];
    readonly released?: RouteState['released'];
    readonly releaseLane?: number | undefined;
    readonly releasing?: boolean | undefined;
    readonly aloneRelease?: number | undefined;
    readonly mapping?: RouteState['mapping'];
  }[];
}

export class StateFile {
  readonly #files: FileSystem;
  readonly #path: string;
  readonly #logId: string;

  constructor(files: FileSystem, path: string, logId: string) {
    this.#files = files;
    this.#path = path;
    this.#logId = logId;
  }

  /**
   * The state as last saved. With another log than it was saved for, only the slot is still true: that log has no rows. Its
   * routes begin in generations that none had before: rows that are held in quarantine are of those, and come again in a snapshot.
   * Throws DATA_DAMAGED, with the way out.
   */
  async load(): Promise<SourceState> {
    const path = this.#path;
    const bytes = await onDisk(path, () => readToActOn(this.#files, path));
    if (bytes === undefined) return EMPTY_STATE;
    const json = parse(bytes, path);
    const isOurs = json.logId === this.#logId;
    const floors = [json.generationFloor ?? 0, ...(isOurs ? [] : json.routes.map(({ generation }) => generation))];
    return {
      slot: json.slot,
      systemId: json.systemId,
      timeline: json.timeline ?? 0,
      resync: json.resync ?? '',
      generationFloor: Math.max(...floors),
      acknowledgedLsn: lsn(json.acknowledgedLsn, path),
      ...(json.landmark === undefined ? {} : { landmark: readLandmark(json.landmark, path) }),
      ...(json.loss === undefined ? {} : { loss: readLoss(json.loss, path) }),
      routes: isOurs ? json.routes.map((route) => readRoute(route, path)) : [],
      logEnds: isOurs ? (json.logEnds ?? []) : [],
      tailFrom: isOurs ? (json.tailFrom ?? []) : [],
      logLost: isOurs ? (json.logLost ?? '') : '',
    };
  }

  /** Resolves when the state is durable. */
  async save(state: SourceState): Promise<void> {
    const { loss, landmark, ...rest } = state;
    const json: StateJson = {
      version: 2,
      logId: this.#logId,
      ...rest,
      ...(loss === undefined ? {} : { loss: lossJson(loss) }),
      ...(landmark === undefined ? {} : { landmark: landmarkJson(landmark) }),
      acknowledgedLsn: formatLsn(state.acknowledgedLsn),
      routes: state.routes.map((route) => ({
        ...route,
        fromLsn: formatLsn(route.fromLsn),
        contractLsn: formatLsn(route.contractLsn),
      })),
    };
    await onDisk(this.#path, async () => {
      await this.#files.makeDirectory(dirname(this.#path));
      await replaceFile(this.#files, this.#path, sealJson({ ...json }));
    });
  }

  /** Keeps a copy of the file as it is, beside it; resolves with the copy's path. */
  keepCopy(): Promise<string> {
    return onDisk(this.#path, async () => {
      const bytes = (await readIfThere(this.#files, this.#path)) ?? new Uint8Array();
      const copy = await asidePath(this.#files, this.#path);
      await replaceFile(this.#files, copy, bytes);
      return copy;
    });
  }
}

function landmarkJson({ endLsn, atUs, untilLsn }: Landmark): NonNullable<StateJson['landmark']> {
  return { endLsn: formatLsn(endLsn), atUs, untilLsn: formatLsn(untilLsn) };
}

function readLandmark({ endLsn, atUs, untilLsn }: NonNullable<StateJson['landmark']>, path: string): Landmark {
  return { endLsn: lsn(endLsn, path), atUs, untilLsn: lsn(untilLsn, path) };
}

function lossJson({ fromLsn, toLsn, ...rest }: HistoryLoss): NonNullable<StateJson['loss']> {
  return { ...rest, fromLsn: formatLsn(fromLsn), ...(toLsn === undefined ? {} : { toLsn: formatLsn(toLsn) }) };
}

function readLoss({ fromLsn, toLsn, ...rest }: NonNullable<StateJson['loss']>, path: string): HistoryLoss {
  return { ...rest, fromLsn: lsn(fromLsn, path), ...(toLsn === undefined ? {} : { toLsn: lsn(toLsn, path) }) };
}

function readRoute(route: StateJson['routes'][number], path: string): RouteState {
  return {
    ...route,
    fromLsn: lsn(route.fromLsn, path),
    tableOid: route.tableOid ?? 0,
    contractVersion: route.contractVersion ?? 0,
    contractLsn: lsn(route.contractLsn ?? '0/0', path),
  };
}

function parse(bytes: Uint8Array, path: string): StateJson {
  const first = unsealed(bytes);
  if (first !== undefined) return first;
  const json = openSealedJson(bytes, path, DAMAGED_REMEDY) as unknown as StateJson;
  if (json.version === 2 && Array.isArray(json.routes)) return json;
  throw damaged(path);
}

/** A state of the first version. */
function unsealed(bytes: Uint8Array): StateJson | undefined {
  try {
    const json = JSON.parse(Buffer.from(bytes).toString('utf8')) as StateJson;
    return json.version === 1 && !('crc32c' in json) && Array.isArray(json.routes) ? json : undefined;
  } catch {
    return undefined;
  }
}

function lsn(text: string, path: string): bigint {
  const value = parseLsn(text);
  if (value === undefined) throw damaged(path);
  return value;
}

const DAMAGED_REMEDY = `Restore the file from a copy no older than the last stop. Without one, ${RESYNC_REMEDY} The damaged file is kept beside it.`;

function damaged(path: string): FreshetError {
  return new FreshetError('DATA_DAMAGED', 'the state of a source cannot be read', {
    remedy: DAMAGED_REMEDY,
    place: path,
  });
}
