/**
 * Looks whether rows of mutable sources went or came with partitions of their tables, untold by the stream (core/table-parts.ts), and
 * has it remembered: their routes begin anew. An append source keeps what was inserted, and is not looked at. Owns no state.
 *
 * A file that may be another one by a TRUNCATE that the stream is still to tell waits until the stream has come to where it was
 * seen, and one that is locked until it is not, so that no database waits for it. A table that does not keep its contract is left
 * alone until it does: it cannot be read anew before.
 */
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { PartTells } from '../core/part-tells.ts';
import { isMutableSource } from '../core/row-shape.ts';
import type { DatabaseSession, PublishedTable } from '../core/source-database.ts';
import { type RouteState, withRoutes } from '../core/source-state.ts';
import { tableName } from '../core/sql.ts';
import {
  canTellAge,
  type PartFacts,
  type PartsChange,
  type PartsFacts,
  partsChange,
  partsOf,
  type TableParts,
} from '../core/table-parts.ts';
import { keepsContract } from './kept-contract.ts';
import type { Wanted } from './source-parts.ts';
import { tableOf } from './source-preflight.ts';
import type { SourceStore } from './source-store.ts';

export interface PartLook {
  readonly session: DatabaseSession;
  readonly store: Pick<SourceStore, 'state' | 'update'>;
  /** What the stream told so far. */
  readonly tells: Pick<PartTells, 'leavesOf' | 'isTruncatedBy'>;
  /** Up to where all that the stream tells has come and is durable. */
  readonly durableLsn: () => bigint;
  /** Kept from look to look: by a partition's file, where the stream is to come to before it is judged. */
  readonly waits: Map<string, bigint>;
}

interface Asked {
  readonly route: RouteState;
  readonly table: PublishedTable;
  readonly was: TableParts;
  readonly now: PartsFacts;
  /** The partitions that rows were told of before it was looked. */
  readonly told: ReadonlySet<number>;
}

/** Throws SOURCE_NOT_READY when a route is to begin anew, once that is in the state. */
export async function lookAtParts(wanted: Wanted, look: PartLook): Promise<void> {
  const { session, store, tells, waits } = look;
  const plans = new Map(wanted.routes.filter(isMutableSource).map((plan) => [plan.route, plan]));
  const live = store.state.routes.filter(({ route, phase }) => phase === 'live' && plans.has(route));
  // Before the catalog is read: who is told of by then is there, unless it went.
  const told = live.map(({ tableOid, fromLsn }) => tells.leavesOf(tableOid, fromLsn));
  const parts = await session.parts(live.map(({ tableOid }) => tableOid));
  const changed = new Map<number, RouteState>();
  const waited = new Set<string>();
  const anew: string[] = [];
  for (const [i, route] of live.entries()) {
    const plan = plans.get(route.route);
    const now = parts.get(route.tableOid);
    if (plan === undefined || now === undefined || route.torn !== undefined) continue;
    const { schema, table } = tableOf(plan);
    const asked: Asked = {
      route,
      table: { schema, table, partitioned: true },
      was: route.parts ?? { endedBelow: now.endedBelow, leaves: [] },
      now,
      told: new Set([...(route.unseen ?? []), ...(told[i] ?? [])]),
    };
    if (route.parts === undefined) {
      changed.set(route.route, { ...route, parts: partsOf(now) });
      continue;
    }
    const change = partsChange(asked.was, now);
    const missing = missingOf(asked);
    if ((change.isSame && missing === 0) || !(await keepsContract(plan, wanted, session))) continue;
    const { reasons, unsure } = await judge(asked, change, look);
    for (const { key } of unsure) if (key !== undefined) waited.add(key);
    if (missing > 0) reasons.push('partitions came, were filled and went');
    if (reasons.length > 0) {
      const name = tableName(schema, table);
      anew.push(`${name}: ${reasons.join('; ')}`);
      changed.set(route.route, { ...route, torn: `rows went or came untold: ${reasons.join('; ')}` });
      continue;
    }
    const remembered = rememberedOf(asked, unsure);
    if (JSON.stringify(remembered) !== JSON.stringify(asked.was))
      changed.set(route.route, { ...route, parts: remembered });
  }
  for (const key of waits.keys()) if (!waited.has(key)) waits.delete(key);
  if (changed.size === 0 || !(await isSaved(changed, store)) || anew.length === 0) return;
  throw new FreshetError('SOURCE_NOT_READY', `rows went or came untold of ${anew.join(', ')}`, {
    remedy: 'Nothing: it is read anew, as a new generation.',
  });
}

/** How many partitions the stream told rows of that were not seen at a look, neither then nor now. */
function missingOf({ was, now, told }: Asked): number {
  const seen = new Set([...was.leaves.map(([oid]) => oid), ...now.leaves.map(({ oid }) => oid)]);
  return [...told].filter((oid) => !seen.has(oid)).length;
}

interface Judged {
  /** Why rows may have gone or come untold, each in some words. */
  readonly reasons: string[];
  /** Partitions that the stream is still to tell of, by their keys in PartLook.waits; without one: that cannot be looked into now. */
  readonly unsure: readonly { readonly key?: string; readonly leaf: PartFacts; readonly isNew?: boolean }[];
}

async function judge(
  { route, table, was, now }: Asked,
  { gone, attached, rejoined, refiled }: PartsChange,
  { session, tells, durableLsn, waits }: PartLook,
): Promise<Judged> {
  const reasons: string[] = [];
  const unsure: Judged['unsure'][number][] = [];
  if (gone > 0) reasons.push(`${gone} partitions were dropped or detached`);
  for (const { name } of rejoined) reasons.push(`${name} was detached and attached anew`);
  for (const leaf of attached) {
    const has = leaf.isTold ? await session.hasRows(table, leaf.oid) : true;
    if (has === undefined) unsure.push({ leaf, isNew: true });
    else if (has) reasons.push(`${leaf.name} was attached, and has rows`);
  }
  for (const leaf of refiled) {
    if (tells.isTruncatedBy(route.tableOid, leaf.xid)) continue;
    const key = `${route.route}.${route.generation}.${leaf.oid}.${leaf.file}`;
    const waitsFor = waits.get(key);
    // Once: a file without such a row may have to be read whole to tell, and gets none later.
    const mayBeMoved = waitsFor === undefined && canTellAge(was, now);
    const has = mayBeMoved ? await session.hasRows(table, leaf.oid, was.endedBelow) : false;
    if (has === undefined) unsure.push({ leaf });
    if (has !== false) continue;
    const untilLsn = waitsFor ?? now.lsn;
    waits.set(key, untilLsn);
    if (durableLsn() >= untilLsn) reasons.push(`${leaf.name} was truncated or written anew`);
    else unsure.push({ key, leaf });
  }
  return { reasons, unsure };
}

/** As it is now, but for what is not judged yet; one that may have come with rows is still to come. */
function rememberedOf({ was, now }: Asked, unsure: Judged['unsure']): TableParts | undefined {
  if (unsure.length === 0) return partsOf(now);
  const files = new Map(was.leaves.map(([oid, file]) => [oid, file]));
  const oids = new Set(unsure.map(({ leaf }) => leaf.oid));
  const come = new Set(unsure.flatMap(({ leaf, isNew }) => (isNew === true ? [leaf.oid] : [])));
  const leaves = now.leaves
    .filter(({ oid }) => !come.has(oid))
    .map((leaf) => (oids.has(leaf.oid) ? { ...leaf, file: files.get(leaf.oid) ?? 0 } : leaf));
  return partsOf({ ...now, endedBelow: was.endedBelow, leaves });
}

/**
 * Whether what was found of partitions is in the state. Not when the disk takes nothing now, which whoever acknowledges tells: the
 * next look finds it again, and the stream goes on.
 */
export async function isSaved(changed: ReadonlyMap<number, RouteState>, store: PartLook['store']): Promise<boolean> {
  try {
    await store.update((state) =>
      withRoutes(
        state,
        state.routes.flatMap((one): RouteState[] => {
          const found = changed.get(one.route);
          if (found === undefined || found.generation !== one.generation || found.tableOid !== one.tableOid) return [];
          const { parts, torn } = found;
          return [{ ...one, parts, ...(torn === undefined ? {} : { torn }) }];
        }),
      ),
    );
    return true;
  } catch (error) {
    if (!isFreshetError(error) || !error.retryable) throw error;
    return false;
  }
}
