/**
 * A row that was put aside alone, judged again: its record in the lane of such releases, or why it stays. Pure.
 *
 * These rows are older or younger than each other and than what flowed on, release by release, so a place in the stream orders
 * them no more than once. Their lane's places are therefore (number of the release, number of the row in it): always ascending,
 * and one mark a shard, however many releases there are (F3).
 *
 * Only rows of append sources: each is an event of its own, whenever it comes. A row of a mutable source is an image that may be
 * older than one that was folded since, or of a row that is gone; nobody here could tell, so it is never folded late (C1).
 */

import type { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { Column, Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Mapping } from './hold.ts';
import type { LiveRoute } from './live-route.ts';
import type { QuarantineEntry, ReleasedRecord } from './quarantine.ts';
import type { Blocked } from './release.ts';
import { isMutable, type Route, routeRow, withColumnTypes } from './route.ts';

/** The lane of releases of rows that were put aside alone. */
export const ALONE_LANE = 4;

/** Which rows are meant, and what is not asked of them. */
export interface AloneRequest {
  /** By their reasons; empty: whatever it is. */
  readonly reasons: ReadonlySet<string>;
  /** By their ids; empty: all. */
  readonly ids: ReadonlySet<string>;
  /** Asks neither value rules nor how far an event time may be ahead. */
  readonly ignoresRules: boolean;
}

/** What is asked of a release. */
export interface ReleaseWish extends Partial<AloneRequest> {
  readonly mapping?: Omit<Mapping, 'version'> | undefined;
  /** Of mutable sources with rows that were put aside alone: read their table anew. */
  readonly readAnew?: boolean | undefined;
}

/** What became of rows that were put aside alone. */
export interface AloneOutcome {
  readonly released: number;
  readonly left: number;
  /** Why the first of them stays; '': none does. */
  readonly why: string;
  readonly readAnew: boolean;
}

export interface AlonePlace {
  /** The number of the release, and of the row in it. */
  readonly release: number;
  readonly row: number;
  readonly nowUs: number;
}

/** What goes to the log of an entry, or why it stays. */
export function judgeAlone(
  live: Pick<LiveRoute, 'route' | 'earlier'>,
  entry: QuarantineEntry,
  ignoresRules: boolean,
  { release, row, nowUs }: AlonePlace,
): ReleasedRecord | Blocked {
  if (isMutable(live.route)) return { reason: entry.reason, detail: MAY_BE_OLDER };
  let why: Blocked | undefined;
  for (const candidate of contractsOf(live, entry)) {
    const routed = routeRow(ignoresRules ? withoutRules(candidate) : candidate, {
      operation: entry.operation as Operation,
      values: candidate.contract.columns.map(({ name }) => entry.values[name]),
      lane: ALONE_LANE,
      major: BigInt(release),
      minor: row,
      part: 0,
      committedUs: entry.committedUs ?? undefined,
      nowUs,
    });
    if (routed.kind === 'record') return { partition: routed.partition, record: base64(routed.record) };
    if (routed.kind === 'broadcast') return { record: base64(routed.record) };
    why ??=
      routed.kind === 'quarantine'
        ? { reason: routed.entry.reason, detail: routed.entry.detail }
        : { reason: 'bad_key', detail: 'a column of its key is null: it is of no entity' };
  }
  return (
    why ?? {
      reason: 'shape',
      detail: `contract ${entry.contractVersion}, under which it came, cannot be read any more`,
    }
  );
}

const MAY_BE_OLDER =
  'it is of a mutable source: what it tells of its row may be older than what was folded since, and must not replace it';

/**
 * The contracts under which the row may be read: its own, and newer ones that read every column of it as its own did, which may
 * take values that its own does not. Newest first.
 */
function contractsOf({ route, earlier }: Pick<LiveRoute, 'route' | 'earlier'>, entry: QuarantineEntry): Route[] {
  const all = [route, ...earlier];
  const own = all.find(({ contract }) => contract.version === entry.contractVersion);
  if (own === undefined) return [];
  return all
    .filter(({ contract }) => contract.version >= own.contract.version && readsAlike(contract, own.contract))
    .map((one) =>
      entry.typeOids === undefined ? one : withColumnTypes(one, oidsUnder(one.contract, own.contract, entry.typeOids)),
    );
}

function oidsUnder(contract: Contract, own: Contract, oids: readonly number[]): (number | undefined)[] {
  return contract.columns.map(({ name }) => oids[own.columns.findIndex((column) => column.name === name)]);
}

function readsAlike(contract: Contract, own: Contract): boolean {
  return contract.columns.every((column) =>
    own.columns.some((was) => was.name === column.name && isSameColumn(was, column)),
  );
}

/** Another column may have the name by now; where numbers are not known, the type must do. */
function isSameColumn(a: Column, b: Column): boolean {
  const isSameType =
    a.type?.kind === b.type?.kind && a.type?.element === b.type?.element && a.type?.dimension === b.type?.dimension;
  const isSameSource = a.sourceTypeOid === b.sourceTypeOid;
  return isSameType && isSameSource && a.tableOid === b.tableOid && a.columnNumber === b.columnNumber;
}

function withoutRules(route: Route): Route {
  return { ...route, rules: undefined, maxSkewUs: Number.POSITIVE_INFINITY };
}

function base64(record: Uint8Array): string {
  return Buffer.from(record).toString('base64');
}
