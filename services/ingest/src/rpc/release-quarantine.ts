/** QuarantineService.ReleaseQuarantine: releases what was put aside of a source, telling how far it is. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  NameMapping,
  ReleaseQuarantineRequest,
  ReleaseQuarantineResponseSchema,
} from '@freshet/gen/freshet/ingest/v1/quarantine_pb.ts';
import type { Mapping } from '../core/hold.ts';
import type { AloneOutcome, ReleaseWish } from '../core/release-alone.ts';

export interface Releaser {
  release(
    source: string,
    wish: ReleaseWish,
    signal: AbortSignal,
  ): AsyncIterable<{
    readonly route: number;
    readonly released: number;
    readonly held: number;
    readonly blocked: { readonly detail: string } | undefined;
    readonly isDone: boolean;
    readonly alone?: AloneOutcome;
  }>;
}

export function releaseQuarantine(
  desk: Releaser,
): (
  request: ReleaseQuarantineRequest,
  context: { readonly signal: AbortSignal },
) => AsyncIterable<MessageInitShape<typeof ReleaseQuarantineResponseSchema>> {
  return async function* ({ source, mappings, ids, reasons, ignoreRules, readAnew }, { signal }) {
    const wish: ReleaseWish = {
      mapping: mappingOf(mappings),
      ids: new Set(ids),
      reasons: new Set(reasons),
      ignoresRules: ignoreRules,
      readAnew,
    };
    for await (const { route, released, held, blocked, isDone, alone } of desk.release(source, wish, signal)) {
      yield {
        route,
        released: BigInt(released),
        held: BigInt(held),
        blocked: blocked?.detail ?? '',
        done: isDone,
        ...(alone === undefined
          ? {}
          : { alone: { ...alone, released: BigInt(alone.released), left: BigInt(alone.left) } }),
      };
    }
  };
}

function mappingOf(mappings: readonly NameMapping[]): Omit<Mapping, 'version'> | undefined {
  if (mappings.length === 0) return undefined;
  const columns = new Map<string, string>();
  const labels = new Map<string, Record<string, string>>();
  for (const { column, label, now } of mappings) {
    if (label === '') columns.set(column, now);
    else labels.set(column, { ...labels.get(column), [label]: now });
  }
  return { columns: Object.fromEntries(columns), labels: Object.fromEntries(labels) };
}
