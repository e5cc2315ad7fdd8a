/**
 * Every way in which a transaction changes rows, at random: inserts, updates, deletes, rows that move to another user or get
 * another key, upserts, truncations, rollbacks, savepoints, and several tables at once, the catalogue's prices among them.
 * It goes on whatever happens to the database; what counts in the end is what the database holds.
 *
 * A transaction is one text (so that a connection that dies leaves nothing open). A savepoint is a block of PL/pgSQL with an
 * exception's handler, which the database makes one of.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Random } from '@freshet/testkit/simulation/random.ts';
import type { Sql } from 'postgres';
import { USERS } from './orders.ts';

const WORKERS = 4;
const ORDERS = 1_500;
const PRODUCTS = 30;
const LINES = 12;
/** A value of this length is stored out of line, and an update that leaves it does not tell it. */
const LARGE = 2_600;

export interface OrderLoad {
  readonly commits: number;
  readonly failures: number;
  /** How often each kind of statement was in a transaction that committed. */
  readonly kinds: ReadonlyMap<string, number>;
  /** Resolves when no transaction is under way; none begins until go(). */
  hold(): Promise<void>;
  go(): void;
  /**
   * Leaves the joined tables alone from now on, or no longer; to be called while it is held. A generation that begins anew
   * joins its rows with the tables as they then are, so what is joined at the time must be what is joined anyway.
   */
  leaveJoined(isLeft: boolean): void;
  stop(): Promise<void>;
}

type Statement = (random: Random) => string;

const user = (random: Random): number => random.between(1, USERS);
const order = (random: Random): number => random.between(1, ORDERS);
const product = (random: Random): string => (random.oneIn(15) ? 'NULL' : String(random.between(1, PRODUCTS)));
const status = (random: Random): string => random.pick(["'open'", "'paid'", "'sent'", "'cancelled'", 'NULL']);
const amount = (random: Random): string =>
  random.oneIn(10) ? 'NULL' : (random.between(-50_000, 5_000_000) / 100).toFixed(2);
/** Doubles whose sum depends on the order in which it is rounded. */
const weight = (random: Random): string =>
  random.oneIn(10) ? 'NULL' : String((random.real() - 0.5) * 10 ** random.between(-12, 12));
const integer = (random: Random): string => (random.oneIn(10) ? 'NULL' : String(random.between(-1_000_000, 1_000_000)));
const note = (random: Random): string => {
  if (!random.oneIn(20)) return random.oneIn(2) ? 'NULL' : `'note ${random.between(1, 1_000)}'`;
  return `'${random.between(1, 1_000_000)}${'large '.repeat(LARGE / 6)}'`;
};
/** The times that were drawn. Some megabytes in hours of a campaign. */
const drawnUs = new Set<number>();
/**
 * Now, or some seconds ago, seldom out of reach of every window; to the microsecond, and no two are equal: of two rows of one
 * time SQL may take either for the last, and the engine takes the one that the log told of last.
 */
const at = (random: Random): string => {
  const agoMs = random.oneIn(30) ? random.between(0, 120_000) : random.oneIn(3) ? random.between(0, 15_000) : 0;
  let us = (Date.now() - agoMs) * 1000 + random.between(0, 999);
  while (drawnUs.has(us)) us++;
  drawnUs.add(us);
  return `timestamptz 'epoch' + ${us} * interval '1 microsecond'`;
};

const orderValues = (random: Random): string =>
  `(${order(random)}, ${user(random)}, ${product(random)}, ${status(random)}, ${amount(random)}, ${weight(random)}, ` +
  `${integer(random)}, ${note(random)}, ${at(random)})`;
const INTO_ORDERS = 'INSERT INTO orders (id, user_id, product_id, status, amount, weight, n, note, at) VALUES ';

/** By kind, and how often each is drawn beside the others. */
const STATEMENTS: readonly (readonly [name: string, times: number, statement: Statement])[] = [
  ['insert', 6, (r) => `${INTO_ORDERS}${orderValues(r)} ON CONFLICT DO NOTHING`],
  [
    'upsert',
    4,
    (r) =>
      `${INTO_ORDERS}${orderValues(r)} ON CONFLICT (id) DO UPDATE SET amount = EXCLUDED.amount, at = EXCLUDED.at, n = orders.n + 1`,
  ],
  ['update', 6, (r) => `UPDATE orders SET status = ${status(r)}, weight = ${weight(r)} WHERE id = ${order(r)}`],
  ['update note', 1, (r) => `UPDATE orders SET note = ${note(r)} WHERE id = ${order(r)}`],
  ['update many', 1, (r) => `UPDATE orders SET amount = amount + 0.01 WHERE id % 97 = ${r.between(0, 96)}`],
  ['update nothing', 1, (r) => `UPDATE orders SET n = n WHERE id = ${order(r)}`],
  ['move', 4, (r) => `UPDATE orders SET user_id = ${user(r)} WHERE id = ${order(r)}`],
  ['rename', 2, (r) => `UPDATE orders SET id = ${order(r)} + ${ORDERS} WHERE id = ${order(r)}`],
  ['rename back', 1, (r) => `UPDATE orders SET id = id - ${ORDERS} WHERE id = ${order(r)} + ${ORDERS}`],
  ['delete', 3, (r) => `DELETE FROM orders WHERE id IN (${order(r)}, ${order(r)}, ${order(r)} + ${ORDERS})`],
  [
    'line',
    5,
    (r) =>
      `INSERT INTO order_lines VALUES (${user(r)}, ${r.between(1, LINES)}, ${integer(r)}, ${amount(r)}, ${at(r)}) ` +
      'ON CONFLICT (user_id, line_no) DO UPDATE SET qty = EXCLUDED.qty, price = EXCLUDED.price, at = EXCLUDED.at',
  ],
  [
    'move line',
    2,
    (r) =>
      `UPDATE order_lines SET user_id = ${user(r)}, line_no = ${r.between(1, LINES)} WHERE user_id = ${user(r)} AND line_no = ${r.between(1, LINES)}`,
  ],
  ['delete line', 1, (r) => `DELETE FROM order_lines WHERE user_id = ${user(r)} AND line_no < ${r.between(1, LINES)}`],
  [
    'price',
    3,
    (r) =>
      `INSERT INTO catalog VALUES (${r.between(1, PRODUCTS)}, 'c', ${r.between(1, 9_999_999) / 100}) ON CONFLICT (product_id) DO UPDATE SET price = EXCLUDED.price`,
  ],
  ['unlist', 1, (r) => `DELETE FROM catalog WHERE product_id = ${r.between(1, PRODUCTS)}`],
  [
    'grade',
    3,
    (r) =>
      `INSERT INTO profile VALUES (${user(r)}, ${r.between(-9, 99)}) ON CONFLICT (user_id) DO UPDATE SET grade = EXCLUDED.grade`,
  ],
  ['move profile', 1, (r) => `UPDATE profile SET user_id = ${user(r)} WHERE user_id = ${user(r)}`],
  ['forget profile', 1, (r) => `DELETE FROM profile WHERE user_id = ${user(r)}`],
];
const JOINED = new Set(['price', 'unlist', 'grade', 'move profile', 'forget profile']);
/** What is drawn from: everything, or only what leaves the joined tables alone. */
interface Drawn {
  readonly statements: typeof STATEMENTS;
  readonly tables: readonly string[];
}
const often = (statements: typeof STATEMENTS): typeof STATEMENTS =>
  statements.flatMap((one) => Array.from({ length: one[1] }, () => one));
const ANY: Drawn = { statements: often(STATEMENTS), tables: ['orders', 'order_lines', 'catalog', 'profile'] };
const NOT_JOINED: Drawn = {
  statements: often(STATEMENTS.filter(([name]) => !JOINED.has(name))),
  tables: ['orders', 'order_lines'],
};

/** About `rate` transactions a second of one to five statements each. */
export function startOrderLoad(sql: Sql, rate: number, seed: number): OrderLoad {
  const state = { commits: 0, failures: 0, stopped: false, held: false, busy: 0, drawn: ANY };
  const kinds = new Map<string, number>();
  const workers = Array.from({ length: WORKERS }, async (_, worker) => {
    const random = new Random(`orders/${seed}/${worker}`);
    while (!state.stopped) {
      if (state.held) {
        await pause(20);
        continue;
      }
      state.busy += 1;
      const { text, names } = transaction(random, state.drawn);
      try {
        await sql.unsafe(text);
        state.commits += 1;
        for (const name of names) kinds.set(name, (kinds.get(name) ?? 0) + 1);
      } catch (error) {
        // Rolled back on purpose, a key that is taken, a deadlock, or the database is down: none of it is ours to mend.
        if ((error as { code?: string }).code === '22012') kinds.set('rollback', (kinds.get('rollback') ?? 0) + 1);
        else {
          state.failures += 1;
          await pause(20);
        }
      } finally {
        state.busy -= 1;
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
    kinds,
    hold: async () => {
      state.held = true;
      while (state.busy > 0) await pause(5);
    },
    go: () => {
      state.held = false;
    },
    leaveJoined: (isLeft) => {
      state.drawn = isLeft ? NOT_JOINED : ANY;
    },
    stop: async () => {
      state.stopped = true;
      await Promise.all(workers);
    },
  };
}

function transaction(random: Random, drawn: Drawn): { text: string; names: string[] } {
  const names: string[] = [];
  const texts: string[] = [];
  for (let left = random.between(1, 5); left > 0; left--) {
    const [name, , statement] = random.pick(drawn.statements);
    const text = statement(random);
    if (random.oneIn(8)) {
      const isUndone = random.oneIn(2);
      const undo = isUndone ? "RAISE EXCEPTION 'undone';" : '';
      texts.push(
        `DO $do$ BEGIN ${text}; ${undo} EXCEPTION WHEN raise_exception OR unique_violation THEN NULL; END $do$`,
      );
      names.push(isUndone ? 'savepoint, rolled back' : 'savepoint');
    } else {
      texts.push(text);
      names.push(name);
    }
  }
  if (random.oneIn(300)) {
    const table = random.pick(drawn.tables);
    texts.splice(random.between(0, texts.length), 0, `TRUNCATE ${table}`);
    names.push(`truncate ${table}`);
  }
  if (random.oneIn(12)) texts.push('SELECT 1 / 0');
  return { text: texts.join(';\n'), names };
}
