/** Keeps a source's state (core/source-state.ts) in a JSON file. Owns the file's form; positions are written as LSNs. */
import { FreshetError } from '@freshet/kit/errors.ts';
import { formatLsn, parseLsn } from '../core/lsn.ts';
import { EMPTY_STATE, type RouteState, type SourceState } from '../core/source-state.ts';
import { readIfThere, replaceFile } from './durable-file.ts';

interface StateJson {
  readonly version: 1;
  readonly logId: string;
  readonly slot: SourceState['slot'];
  readonly systemId: string;
  readonly acknowledgedLsn: string;
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
  }[];
}

export class StateFile {
  readonly #path: string;
  readonly #logId: string;

  constructor(path: string, logId: string) {
    this.#path = path;
    this.#logId = logId;
  }

  /** The state as last saved. With another log than it was saved for, only the slot is still true: that log has no rows. */
  async load(): Promise<SourceState> {
    const bytes = await readIfThere(this.#path);
    if (bytes === undefined) return EMPTY_STATE;
    const json = parse(bytes.toString('utf8'), this.#path);
    return {
      slot: json.slot,
      systemId: json.systemId,
      acknowledgedLsn: lsn(json.acknowledgedLsn, this.#path),
      routes: json.logId === this.#logId ? json.routes.map((route) => readRoute(route, this.#path)) : [],
    };
  }

  /** Resolves when the state is durable. */
  async save(state: SourceState): Promise<void> {
    const json: StateJson = {
      version: 1,
      logId: this.#logId,
      slot: state.slot,
      systemId: state.systemId,
      acknowledgedLsn: formatLsn(state.acknowledgedLsn),
      routes: state.routes.map((route) => ({
        ...route,
        fromLsn: formatLsn(route.fromLsn),
        contractLsn: formatLsn(route.contractLsn),
      })),
    };
    await replaceFile(this.#path, `${JSON.stringify(json, undefined, 2)}\n`);
  }
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

function parse(text: string, path: string): StateJson {
  try {
    const json = JSON.parse(text) as StateJson;
    if (json.version === 1 && Array.isArray(json.routes)) return json;
  } catch {
    // Not JSON: the same as another version, below.
  }
  throw damaged(path);
}

function lsn(text: string, path: string): bigint {
  const value = parseLsn(text);
  if (value === undefined) throw damaged(path);
  return value;
}

function damaged(path: string): FreshetError {
  return new FreshetError('DATA_DAMAGED', 'the state of a source cannot be read', {
    remedy:
      'Restore the file. Without it, remove the file, drop the replication slot, and empty the log: capture starts over.',
    place: path,
  });
}
