/**
 * The shop's visitors: commits real transactions at a chosen rate, one to four events each. Some events arrive late, as
 * from a phone that was offline. Owns the connections it writes with; does not know that Freshet exists.
 */
import type { Sql } from 'postgres';
import { seededRandom } from './random.ts';

export const USERS = 1000;
export const PRODUCTS = 200;
const CATEGORIES = ['books', 'garden', 'kitchen', 'music', 'outdoor', 'toys'] as const;
/** Commits wait for their turn beyond this many; the rate then falls rather than memory rise. */
const IN_FLIGHT_MAX = 16;

export interface Traffic {
  readonly commits: number;
  readonly events: number;
  /** Ends after the commits in flight. */
  stop(): Promise<void>;
}

interface Activity {
  readonly user_id: number;
  readonly product_id: number | null;
  readonly event_type: 'click' | 'view' | 'purchase' | 'login';
  readonly amount: string | null;
  readonly occurred_at: Date;
}

/** Fills the catalogue once. */
export async function stockShelves(sql: Sql): Promise<void> {
  const random = seededRandom(1);
  const products = Array.from({ length: PRODUCTS }, (_, i) => ({
    product_id: i + 1,
    category: CATEGORIES[i % CATEGORIES.length] ?? 'toys',
    price: (1 + random() * 199).toFixed(2),
  }));
  await sql`INSERT INTO product_catalog ${sql(products)} ON CONFLICT (product_id) DO NOTHING`;
}

/** Starts to commit `rate` transactions a second until stopped; `onError` hears of a commit that failed, which ends it. */
export function startTraffic(
  sql: Sql,
  rate: number,
  seed: number,
  onError: (error: Error) => void = () => {},
): Traffic {
  const random = seededRandom(seed);
  const state = { commits: 0, events: 0, inFlight: 0, stopped: false };
  const failures: unknown[] = [];
  const startedAt = performance.now();
  let due = 0;

  const commit = async (): Promise<void> => {
    state.inFlight += 1;
    const batch = Array.from({ length: 1 + Math.floor(random() * 4) }, () => activity(random));
    try {
      await sql`INSERT INTO user_activity ${sql(batch)}`;
      state.commits += 1;
      state.events += batch.length;
    } catch (error) {
      failures.push(error);
      onError(error as Error);
      state.stopped = true;
    } finally {
      state.inFlight -= 1;
    }
  };
  const timer = setInterval(() => {
    const target = ((performance.now() - startedAt) / 1000) * rate;
    while (!state.stopped && due < target && state.inFlight < IN_FLIGHT_MAX) {
      due += 1;
      void commit();
    }
    // What could not be sent in time is not made up for in a burst.
    due = Math.max(due, target - rate);
  }, 2);

  return {
    get commits() {
      return state.commits;
    },
    get events() {
      return state.events;
    },
    stop: async () => {
      state.stopped = true;
      clearInterval(timer);
      while (state.inFlight > 0) await new Promise((resolve) => setTimeout(resolve, 5));
      if (failures.length > 0) throw failures[0];
    },
  };
}

function activity(random: () => number): Activity {
  // A few users and products get most of the traffic.
  const user = 1 + Math.floor(random() ** 2 * USERS);
  const product = 1 + Math.floor(random() ** 2 * PRODUCTS);
  const kind = random();
  const lateMs = random() < 0.02 ? random() * 120_000 : 0;
  const occurred_at = new Date(Date.now() - lateMs);
  if (kind < 0.05) return { user_id: user, product_id: null, event_type: 'login', amount: null, occurred_at };
  if (kind < 0.15) {
    const amount = (1 + random() * 199).toFixed(2);
    return { user_id: user, product_id: product, event_type: 'purchase', amount, occurred_at };
  }
  return { user_id: user, product_id: product, event_type: kind < 0.6 ? 'click' : 'view', amount: null, occurred_at };
}
