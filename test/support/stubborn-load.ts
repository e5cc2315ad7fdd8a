/**
 * Commits that go on whatever happens to the database: a commit whose outcome is unknown is not repeated, because what
 * counts in the end is what the database holds.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Random } from '@freshet/testkit/simulation/random.ts';
import type { Sql } from 'postgres';

export interface StubbornLoad {
  readonly commits: number;
  readonly failures: number;
  stop(): Promise<void>;
}

const WORKERS = 4;
const KINDS = ['click', 'view', 'purchase', 'login'] as const;

/** About `rate` transactions a second into the storefront's user_activity; one in a hundred has hundreds of rows. */
export function startStubbornLoad(sql: Sql, rate: number, seed: number): StubbornLoad {
  const state = { commits: 0, failures: 0, stopped: false };
  const workers = Array.from({ length: WORKERS }, async (_, worker) => {
    const random = new Random(`load/${seed}/${worker}`);
    while (!state.stopped) {
      const rows = Array.from({ length: random.oneIn(100) ? 300 : random.between(1, 4) }, () => {
        const kind = random.pick(KINDS);
        return {
          user_id: random.between(1, 1000),
          product_id: kind === 'login' ? null : random.between(1, 200),
          event_type: kind,
          amount: kind === 'purchase' ? (random.between(100, 20_000) / 100).toFixed(2) : null,
          occurred_at: new Date(Date.now() - (random.oneIn(50) ? random.between(0, 120_000) : 0)),
        };
      });
      try {
        await sql`INSERT INTO user_activity ${sql(rows)}`;
        state.commits += 1;
      } catch {
        // The database is down, which is what is being tested; the count says how often.
        state.failures += 1;
        await pause(100);
      }
      await pause((1000 * WORKERS) / rate);
    }
  });
  return {
    get commits() {
      return state.commits;
    },
    get failures() {
      return state.failures;
    },
    stop: async () => {
      state.stopped = true;
      await Promise.all(workers);
    },
  };
}
