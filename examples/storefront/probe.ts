/**
 * Measures from outside what a model server would see: how long after a commit its effect is served, how long a read
 * takes, and how some users' features change.
 */
import type { FreshetClient } from '@freshet/client/freshet-client.ts';
import type { Sql } from 'postgres';
import { Measurements } from './percentile.ts';
import { seededRandom } from './random.ts';
import { PRODUCTS, USERS } from './traffic.ts';

/** Probes click as users of their own, so that nobody else changes what they wait for. */
const PROBE_USER_BASE = 1_000_000;
/** After this long a commit that is still not served is a failure, not a slow one. */
const SERVED_WITHIN_MS = 30_000;
const KEPT = 10_000;

export interface Probes {
  /** Milliseconds from the return of COMMIT to the first read that shows it. */
  readonly freshness: Measurements;
  /** Milliseconds of a GetFeatures call for ten random users. */
  readonly reads: Measurements;
  /** Commits made by probes, and their events: one each. */
  readonly commits: number;
  stop(): Promise<void>;
}

/** Starts both probes; `onError` hears of a failure, after which the probe that failed has ended. */
export function startProbes(sql: Sql, client: FreshetClient, onError: (error: Error) => void): Probes {
  const freshness = new Measurements(KEPT);
  const reads = new Measurements(KEPT);
  const state = { stopped: false, commits: 0 };
  const random = seededRandom(2);
  const probeUser = BigInt(PROBE_USER_BASE + Math.floor(Date.now() / 1000));

  const total = async (): Promise<bigint> => {
    const answer = await client.getFeatures({
      features: ['user_clicks:click_count_total'],
      keys: { user_id: [probeUser] },
    });
    return answer.columns['user_clicks:click_count_total']?.values[0] as bigint;
  };
  const measureFreshness = async (): Promise<void> => {
    while (!state.stopped) {
      const before = await total();
      await sql`INSERT INTO user_activity (user_id, event_type, occurred_at) VALUES (${probeUser.toString()}, 'click', now())`;
      const committedAt = performance.now();
      state.commits += 1;
      while ((await total()) === before) {
        if (performance.now() - committedAt > SERVED_WITHIN_MS)
          throw new Error(`a commit was not served within ${SERVED_WITHIN_MS / 1000} s`);
      }
      freshness.add(performance.now() - committedAt);
      await pause(20);
    }
  };
  const measureReads = async (): Promise<void> => {
    while (!state.stopped) {
      const users = Array.from({ length: 10 }, () => BigInt(1 + Math.floor(random() * USERS)));
      const products = users.map(() => BigInt(1 + Math.floor(random() * PRODUCTS)));
      const startedAt = performance.now();
      await client.getFeatures({ service: 'recommendations', keys: { user_id: users, product_id: products } });
      reads.add(performance.now() - startedAt);
      await pause(10);
    }
  };
  const running = [measureFreshness(), measureReads()].map((probe) =>
    probe.catch((error: Error) => {
      if (!state.stopped) onError(error);
    }),
  );
  return {
    freshness,
    reads,
    get commits() {
      return state.commits;
    },
    stop: async () => {
      state.stopped = true;
      await Promise.all(running);
    },
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
