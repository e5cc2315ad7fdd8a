/**
 * What happens in one simulated run: commits, definitions, and faults, each at its time. Made from a seed; a list, so
 * that a run that fails can be made smaller by leaving things out.
 *
 * Owns the choice of faults. Does not own what they do (world.ts). Pure.
 */
import { Random } from '@freshet/testkit/simulation/random.ts';

/** Machines: each has a disk, a clock, and one process at a time. */
export const MACHINES = ['ingest', 'compute-a', 'compute-b', 'edge-1', 'edge-2'] as const;
export type Machine = (typeof MACHINES)[number];

/** Pairs that talk to each other. */
const LINKS: readonly (readonly [Machine, Machine])[] = [
  ['compute-a', 'ingest'],
  ['compute-b', 'ingest'],
  ['edge-1', 'compute-a'],
  ['edge-1', 'compute-b'],
  ['edge-2', 'compute-a'],
  ['edge-2', 'compute-b'],
];

export interface RowAction {
  readonly user: number;
  readonly amount: number;
  /** How far the event lies before its commit, microseconds. */
  readonly lateUs: number;
}

export type Action =
  | { readonly kind: 'commit'; readonly rows: readonly RowAction[] }
  | { readonly kind: 'rollback' }
  | { readonly kind: 'define'; readonly set: number }
  | { readonly kind: 'kill'; readonly machine: Machine; readonly forUs: number }
  | { readonly kind: 'power'; readonly machine: Machine; readonly forUs: number; readonly keep: number }
  | { readonly kind: 'stop'; readonly machine: Machine; readonly forUs: number }
  | { readonly kind: 'slow'; readonly machine: Machine; readonly forUs: number; readonly times: number }
  | { readonly kind: 'cut'; readonly link: readonly [Machine, Machine]; readonly forUs: number }
  | { readonly kind: 'reset'; readonly link: readonly [Machine, Machine] }
  | { readonly kind: 'lag'; readonly link: readonly [Machine, Machine]; readonly forUs: number; readonly us: number }
  | {
      readonly kind: 'scramble';
      readonly link: readonly [Machine, Machine];
      readonly forUs: number;
      readonly how: 'duplicate' | 'reorder' | 'lose';
    }
  | { readonly kind: 'flip'; readonly machine: Machine; readonly where: number }
  | { readonly kind: 'lose-key'; readonly machine: Machine; readonly where: number }
  | { readonly kind: 'old-row'; readonly machine: Machine; readonly where: number }
  | { readonly kind: 'full'; readonly machine: Machine; readonly forUs: number }
  | { readonly kind: 'clock'; readonly machine: Machine; readonly jumpUs: number }
  | { readonly kind: 'checkpoint'; readonly machine: Machine }
  | { readonly kind: 'anew' }
  | { readonly kind: 'database-away'; readonly forUs: number }
  | { readonly kind: 'database-silent'; readonly forUs: number };

export interface TimedAction {
  /** Since the beginning, microseconds. */
  readonly atUs: number;
  readonly action: Action;
}

export interface Plan {
  readonly seed: number;
  readonly partitions: number;
  /** How long actions go on; afterwards everything heals, and has to come to rest. */
  readonly durationUs: number;
  readonly users: number;
  /** Whether the log is trimmed as far as checkpoints allow. */
  readonly trims: boolean;
  readonly actions: readonly TimedAction[];
}

const SECOND = 1_000_000;

export function makePlan(seed: number): Plan {
  const random = new Random(`plan/${seed}`);
  const durationUs = random.between(4, 16) * SECOND;
  const users = random.pick([1, 3, 12, 40]);
  const actions: TimedAction[] = [
    { atUs: 0, action: { kind: 'define', set: 0 } },
    ...commits(random.branch('commits'), durationUs, users),
    ...faults(random.branch('faults'), durationUs),
  ];
  const trims = random.oneIn(2);
  const changes = random.between(0, 3);
  for (let i = 0; i < changes; i++) {
    actions.push({
      atUs: random.between(SECOND, durationUs),
      action: { kind: 'define', set: random.between(0, 3) },
    });
  }
  actions.sort((a, b) => a.atUs - b.atUs);
  return { seed, partitions: random.pick([1, 2, 3]), durationUs, users, trims, actions };
}

function commits(random: Random, durationUs: number, users: number): TimedAction[] {
  const perSecond = random.pick([2, 10, 40]);
  const count = Math.min(250, Math.ceil((perSecond * durationUs) / SECOND));
  return Array.from({ length: count }, () => {
    const atUs = random.between(0, durationUs);
    if (random.oneIn(20)) return { atUs, action: { kind: 'rollback' } as const };
    const rows = random.oneIn(15) ? random.between(20, 120) : random.between(1, 3);
    return {
      atUs,
      action: {
        kind: 'commit' as const,
        rows: Array.from({ length: rows }, () => ({
          user: random.between(1, users),
          amount: random.between(-100, 1000),
          lateUs: random.oneIn(4) ? random.between(0, 30) * SECOND : 0,
        })),
      },
    };
  });
}

function faults(random: Random, durationUs: number): TimedAction[] {
  // Some runs have none: a fault that is always there hides what only shows without it.
  const count = random.pick([0, 1, 2, 4, 8, 16, 32]);
  return Array.from({ length: count }, () => ({ atUs: random.between(0, durationUs), action: fault(random) }));
}

function fault(random: Random): Action {
  const machine = random.pick(MACHINES);
  const link = random.pick(LINKS);
  const forUs = random.pick([100_000, SECOND, 3 * SECOND, 8 * SECOND]);
  const makers: readonly (() => Action)[] = [
    () => ({ kind: 'kill', machine, forUs }),
    () => ({ kind: 'kill', machine, forUs: 50_000 }),
    () => ({ kind: 'power', machine, forUs, keep: random.real() }),
    () => ({ kind: 'stop', machine, forUs }),
    () => ({ kind: 'slow', machine, forUs, times: random.pick([5, 50]) }),
    () => ({ kind: 'cut', link, forUs }),
    () => ({ kind: 'reset', link }),
    () => ({ kind: 'lag', link, forUs, us: random.pick([20_000, 500_000]) }),
    () => ({ kind: 'scramble', link, forUs, how: random.pick(['duplicate', 'reorder', 'lose'] as const) }),
    () => ({ kind: 'flip', machine, where: random.real() }),
    () => ({ kind: 'lose-key', machine, where: random.real() }),
    () => ({ kind: 'old-row', machine: random.pick(['edge-1', 'edge-2'] as const), where: random.real() }),
    () => ({ kind: 'full', machine, forUs }),
    () => ({ kind: 'clock', machine, jumpUs: random.between(-20, 20) * SECOND }),
    () => ({ kind: 'checkpoint', machine: random.pick(['compute-a', 'compute-b'] as const) }),
    () => ({ kind: 'anew' }),
    () => ({ kind: 'database-away', forUs }),
    () => ({ kind: 'database-silent', forUs }),
  ];
  return random.pick(makers)();
}
