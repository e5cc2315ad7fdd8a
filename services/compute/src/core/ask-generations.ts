/**
 * Asks ingest for routes anew, on behalf of shards that need a route's beginning which the log no longer has.
 *
 * Owns which routes are asked for and how often: of all that the node's shards want, each by the newest generation that
 * does not serve; once, and again ever more seldom for as long as it is wanted. Does not own why a shard wants a route
 * (wanted-routes.ts), nor what ingest makes of it.
 *
 *     wanted above g ──asked──▶ accepted ─────────────▶ the generation comes by the log; it is wanted no more
 *                          ├──▶ begun: h > g, and a while later still wanted: the log lost that, too ──▶ wanted above h
 *                          └──▶ not known there ──▶ asked again later
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { type GenerationAsker, type GenerationWanted, ROUTES_PER_REQUEST } from '@freshet/log/generation-requests.ts';
import type { ShardSource } from './shard-source.ts';
import { wantedRoutes } from './wanted-routes.ts';

/** Between looks at what the shards want, in milliseconds. */
const LOOK_MS = 1_000;
/** A route is asked for again after this long, then after twice as long, and so on, in milliseconds. */
const AGAIN_FIRST_MS = 10_000;
const AGAIN_MAX_MS = 600_000;

interface Asked {
  aboveGeneration: number;
  waitMs: number;
  againAtUs: number;
}

export interface AskOptions {
  readonly asker: GenerationAsker;
  readonly node: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** Runs until the signal aborts. Never throws: what is not answered is asked for again. */
export async function askGenerations(host: ShardSource, options: AskOptions): Promise<void> {
  const { clock, signal } = options;
  const asked = new Map<number, Asked>();
  while (!signal.aborted) {
    await clock.sleep(LOOK_MS, signal).catch(() => undefined);
    if (signal.aborted) return;
    const wanted = wantedRoutes(host.shards);
    for (const route of asked.keys()) if (!wanted.has(route)) asked.delete(route);
    const due = [...wanted.values()].filter((route) => isDue(asked, route, clock.monotonicUs()));
    if (due.length > 0) await ask(host, due.slice(0, ROUTES_PER_REQUEST), asked, options);
  }
}

function isDue(asked: Map<number, Asked>, { route, aboveGeneration }: GenerationWanted, nowUs: number): boolean {
  const before = asked.get(route);
  if (before === undefined || before.aboveGeneration < aboveGeneration) {
    asked.set(route, { aboveGeneration, waitMs: AGAIN_FIRST_MS, againAtUs: nowUs });
    return true;
  }
  return nowUs >= before.againAtUs;
}

async function ask(
  host: ShardSource,
  due: readonly GenerationWanted[],
  asked: Map<number, Asked>,
  { asker, node, clock, signal, log }: AskOptions,
): Promise<void> {
  const logId = host.shards.find((shard) => shard.logId !== '')?.logId;
  if (logId === undefined) return;
  const nowUs = clock.monotonicUs();
  const wanted = due.map((route) => {
    const mine = asked.get(route.route);
    if (mine === undefined) return route;
    mine.againAtUs = nowUs + mine.waitMs * 1000;
    mine.waitMs = Math.min(AGAIN_MAX_MS, mine.waitMs * 2);
    return { ...route, aboveGeneration: mine.aboveGeneration };
  });
  try {
    for (const { route, verdict, generation } of await asker.requestGenerations(node, logId, wanted, signal)) {
      const mine = asked.get(route);
      // One that has begun and is still wanted when it is asked for again is not in the log either.
      if (mine !== undefined && verdict === 'begun') mine.aboveGeneration = Math.max(mine.aboveGeneration, generation);
      log.info('asked for a route anew', { route, verdict, generation });
    }
  } catch (error) {
    if (signal.aborted) return;
    if (!isFreshetError(error) && !isAbort(error)) throw error;
    log.warn('routes could not be asked for anew', { error: error instanceof Error ? error.message : '' });
  }
}
