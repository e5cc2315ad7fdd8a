/**
 * What was applied before: who, when, what, and the definitions themselves, to be planned again.
 *
 * Owns pages of the history and the choice of an earlier generation. Does not own what is kept (ApplyHistory), and puts
 * nothing in force: a rollback is a plan of earlier definitions, applied like any other.
 */
import { create } from '@bufbuild/protobuf';
import { type Apply, ApplySchema } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { AuditEntry, KeptApply, StoredWritten } from '@freshet/gen/freshet/registry/v1/storage_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** An audit entry with its apply's number, from 0. */
export interface NumberedAudit {
  readonly number: bigint;
  readonly entry: AuditEntry;
}

/** What is kept of applies. */
export interface ApplyHistory {
  /** Newest first: those before `before`, else the newest. */
  numberedAudit(limit: number, before?: bigint): Promise<NumberedAudit[]>;
  /** Which applies' definitions are kept, by number ascending. */
  kept(): Promise<readonly KeptApply[]>;
  written(number: bigint): Promise<StoredWritten | undefined>;
}

export const PAGE_DEFAULT = 50;

/** A page of applies, newest first. `before` is a number from 1, as people see it; 0: from the newest on. */
export async function listApplies(
  history: ApplyHistory,
  limit: number,
  before: bigint,
): Promise<{ readonly applies: Apply[]; readonly nextBefore: bigint }> {
  const entries = await history.numberedAudit(limit || PAGE_DEFAULT, before === 0n ? undefined : before - 1n);
  const kept = new Set((await history.kept()).map(({ number }) => number));
  const applies = entries.map(({ number, entry }) =>
    create(ApplySchema, {
      number: number + 1n,
      appliedAtUs: entry.appliedAtUs,
      generation: entry.generation,
      planHash: entry.planHash,
      changes: entry.changes,
      peer: entry.peer,
      by: entry.by,
      message: entry.message,
      kept: kept.has(number),
    }),
  );
  const last = applies.at(-1)?.number ?? 0n;
  return { applies, nextBefore: last > 1n && applies.length === (limit || PAGE_DEFAULT) ? last : 0n };
}

/** The definitions of a generation, as its last apply wrote them; 0: of the one before `current`. Throws INVALID_REQUEST. */
export async function definitionsAt(
  history: ApplyHistory,
  generation: bigint,
  current: bigint,
): Promise<StoredWritten> {
  const kept = await history.kept();
  const match = kept.findLast((apply) =>
    generation === 0n ? apply.generation < current : apply.generation === generation,
  );
  const stored = match === undefined ? undefined : await history.written(match.number);
  if (stored !== undefined) return stored;
  const generations = [...new Set(kept.map((apply) => apply.generation))];
  const wanted = generation === 0n ? `a generation before ${current}` : `generation ${generation}`;
  throw new FreshetError('INVALID_REQUEST', `the definitions of ${wanted} are not kept`, {
    remedy:
      generations.length === 0
        ? 'nothing was applied yet; apply definitions from files'
        : `kept are the generations ${generations.slice(-20).join(', ')}; 'freshet history' tells them, and files apply any other`,
    place: 'generation',
  });
}
