/** QuarantineService.ListQuarantine: what is held, and entries a page at a time. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  AloneRowsSchema,
  HeldTableSchema,
  ListQuarantineRequest,
  ListQuarantineResponseSchema,
  QuarantinedRowSchema,
} from '@freshet/gen/freshet/ingest/v1/quarantine_pb.ts';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { AloneRows } from '../core/alone-index.ts';
import type { HeldRoute } from '../core/held-index.ts';
import { placeName, type QuarantineEntry } from '../core/quarantine.ts';

const PAGE = 100;

/** Whoever has the entries: io/quarantine-desk.ts. */
export interface QuarantineLister {
  held(source: string): readonly HeldRoute[];
  alone(source: string): readonly AloneRows[];
  list(source: string, token: string, size: number): Promise<{ entries: readonly QuarantineEntry[]; next: string }>;
}

export function listQuarantine(
  desk: QuarantineLister,
): (request: ListQuarantineRequest) => Promise<MessageInitShape<typeof ListQuarantineResponseSchema>> {
  return async ({ source, pageToken, pageSize }) => {
    const { entries, next } = await desk.list(source, pageToken, pageSize === 0 ? PAGE : pageSize);
    const held = pageToken === '' ? desk.held(source) : [];
    return {
      held: held.map(heldTable),
      alone: pageToken === '' ? aloneRows(desk.alone(source)) : [],
      rows: entries.map(rowOf),
      nextPageToken: next,
    };
  };
}

/** What was put aside alone, by route. */
export function aloneRows(alone: readonly AloneRows[]): MessageInitShape<typeof AloneRowsSchema>[] {
  const routes = new Map<number, { source: string; route: number; rows: bigint }>();
  for (const { route, source, count } of alone) {
    routes.set(route, { source, route, rows: (routes.get(route)?.rows ?? 0n) + BigInt(count) });
  }
  return [...routes.values()].sort((a, b) => a.route - b.route);
}

/** What is held of a route. */
export function heldTable(held: HeldRoute): MessageInitShape<typeof HeldTableSchema> {
  const { source, table, route, hold, count, bytes, reason, detail, contractVersion, sinceUs } = held;
  return {
    source,
    table,
    route,
    keysOnly: !hold.isWhole,
    rows: BigInt(count),
    bytes: BigInt(bytes),
    reason: detail === '' ? reason : detail,
    contractVersion,
    sinceUs: BigInt(Math.floor(sinceUs)),
  };
}

const OPERATIONS: Readonly<Record<number, string>> = {
  [Operation.INSERT]: 'insert',
  [Operation.UPDATE]: 'update',
  [Operation.DELETE]: 'delete',
  [Operation.READ]: 'read',
};

/** An entry without its values. */
export function rowOf(entry: QuarantineEntry): MessageInitShape<typeof QuarantinedRowSchema> {
  const { source, table, reason, detail, major, committedUs, operation, contractVersion, held, truncates } = entry;
  return {
    id: placeName(entry),
    source,
    table,
    reason,
    detail,
    position: major,
    ...(committedUs === null ? {} : { committedUs: BigInt(Math.floor(committedUs)) }),
    operation: truncates === true ? 'truncate' : (OPERATIONS[operation] ?? ''),
    contractVersion,
    holds: held !== undefined,
  };
}
