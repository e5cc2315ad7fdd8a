/**
 * Which version of its contract a table has, by what the stream showed: versions are accepted once, and a table may come back
 * to an earlier one. Owns what is a return, so that it is journaled with the position it took effect at, and what only comes
 * again (a restart, a backlog). Pure.
 *
 *     version 1 ──100──▶ 2 ──200──▶ 1: a return, journaled at 300 ──▶ 1 again at 350: known ──▶ 2 at 150: a backlog, known
 *
 * Limit: returns of a version, `RETURNS_MAX`; policy: the oldest goes.
 */
import { create } from '@bufbuild/protobuf';
import {
  type ContractRecord,
  ContractReturnSchema,
  type SeenContract,
} from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';

const RETURNS_MAX = 16;

/** The version that the table has. */
export interface Shown {
  readonly record: ContractRecord;
  /** Whether a newer one was shown before. */
  readonly isReturn: boolean;
}

/** Since which position the table has the version, as the stream showed it last; 0: it never did. */
function sinceOf({ lsn, returns }: ContractRecord): bigint {
  return returns.at(-1)?.lsn ?? lsn;
}

/** The version that the stream showed last; undefined: none yet, or a shape (`seen`) that no version has. */
export function shownVersion(versions: readonly ContractRecord[], seen: SeenContract | undefined): Shown | undefined {
  const record = versions.reduce<ContractRecord | undefined>(
    (newest, one) => (sinceOf(one) > (newest === undefined ? 0n : sinceOf(newest)) ? one : newest),
    undefined,
  );
  if (record === undefined || (seen?.lsn ?? 0n) > sinceOf(record)) return undefined;
  const version = versionOf(record);
  return { record, isReturn: versions.some((one) => versionOf(one) > version && sinceOf(one) > 0n) };
}

/**
 * The record with the sighting of its shape at the position, when that tells something: its first, or a return from another
 * version or from `between`, a shape that nobody accepted. Undefined: it was known.
 */
export function withSighting(
  known: ContractRecord,
  at: { readonly lsn: bigint; readonly seenAtUs: bigint },
  versions: readonly ContractRecord[],
  between: SeenContract | undefined,
): ContractRecord | undefined {
  const since = sinceOf(known);
  const others = versions.filter((one) => versionOf(one) !== versionOf(known));
  const positions = [...others.map(sinceOf), between?.lsn ?? 0n];
  const newest = positions.reduce((a, b) => (a > b ? a : b));
  const wasLeft = since > 0n || others.some((one) => versionOf(one) > versionOf(known) && sinceOf(one) > 0n);
  const isReturn = wasLeft && newest > since && at.lsn > newest;
  if (!isReturn && since > 0n) return undefined;
  const returns = isReturn ? [...known.returns, create(ContractReturnSchema, at)].slice(-RETURNS_MAX) : known.returns;
  return since > 0n ? { ...known, returns } : { ...known, ...at, returns };
}

function versionOf({ contract }: ContractRecord): number {
  return contract?.version ?? 0;
}
