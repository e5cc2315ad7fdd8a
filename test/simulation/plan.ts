/**
 * What happens in one simulated run: commits, definitions, and faults, each at its time. Made from a seed; a list, so
 * that a run that fails can be made smaller by leaving things out.
 *
 * Owns the choice of faults. Does not own what they do (world.ts). Pure.
 */
import { Random } from '@freshet/testkit/simulation/random.ts';
import { type Dml, drawDml } from './changes.ts';

/** Machines: each has a disk, a clock, and one process at a time. */
export const MACHINES = ['ingest', 'compute-a', 'compute-b', 'edge-1', 'edge-2'] as const;
export type Machine = (typeof MACHINES)[number];
export const COMPUTES = ['compute-a', 'compute-b'] as const;

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
  /** A transaction of several statements, of several tables maybe. */
  | { readonly kind: 'change'; readonly rows: readonly RowAction[]; readonly statements: readonly Dml[] }
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
  | { readonly kind: 'flip-file'; readonly machine: Machine; readonly where: number; readonly at: number }
  | { readonly kind: 'lie'; readonly machine: Machine; readonly forUs: number; readonly keep: number }
  /** The log is copied, and after so long put back to that, beside newer files of the node. */
  | { readonly kind: 'old-log'; readonly afterUs: number }
  | { readonly kind: 'lose-key'; readonly machine: Machine; readonly where: number }
  | { readonly kind: 'old-row'; readonly machine: Machine; readonly where: number }
  | { readonly kind: 'full'; readonly machine: Machine; readonly forUs: number }
  | { readonly kind: 'clock'; readonly machine: Machine; readonly jumpUs: number }
  | { readonly kind: 'checkpoint'; readonly machine: Machine }
  | { readonly kind: 'anew' }
  | EraseAction
  /** The database is put back to what it was so long ago. */
  | { readonly kind: 'rewind'; readonly byUs: number; readonly keepsSlots: boolean }
  | { readonly kind: 'drop-slot' }
  /** A column of a mutable table has another name for so long: rows that come then break the contract. */
  | { readonly kind: 'rename'; readonly forUs: number }
  /** Somebody has what is held released, from now on. */
  | { readonly kind: 'release' }
  | { readonly kind: 'database-away'; readonly forUs: number }
  | { readonly kind: 'database-silent'; readonly forUs: number };

/** The steps of an erase that the one who asks for it takes. */
export type EraseStep = 'begin' | 'forget' | 'confirm' | 'note' | 'complete';

/** The user's rows are deleted from the database, and the entity is erased. */
export interface EraseAction {
  readonly kind: 'erase';
  readonly user: number;
  /** What the user writes once the Erase record is in the log; nothing else is written of it from then on. */
  readonly again: readonly { readonly amount: number; readonly afterUs: number }[];
  /** Whether compute nodes that are away are left out of the receipt. */
  readonly leavesOut: boolean;
  /** Machines that die at a step, once. */
  readonly strikes: readonly { readonly step: EraseStep; readonly machine: Machine; readonly afterUs: number }[];
}

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
  /** Whether somebody looks on for some minutes after all is at rest: until what is dead was swept away. */
  readonly lingers: boolean;
  readonly actions: readonly TimedAction[];
}

const SECOND = 1_000_000;
const OLD_LOG_ONE_IN = 40;

export function makePlan(seed: number): Plan {
  const random = new Random(`plan/${seed}`);
  const durationUs = random.between(4, 16) * SECOND;
  const users = random.pick([1, 3, 12, 40]);
  const actions: TimedAction[] = [
    { atUs: 0, action: { kind: 'define', set: 0 } },
    ...commits(random.branch('commits'), durationUs, users),
    ...faults(random.branch('faults'), durationUs),
  ];
  actions.push(...changes(random.branch('changes'), durationUs, users));
  actions.push(...losses(random.branch('losses'), durationUs));
  const trims = random.oneIn(2);
  actions.push(...definitions(random.branch('definitions'), durationUs));
  actions.push(...renames(random.branch('renames'), durationUs));
  const erased = erasures(random.branch('erasures'), durationUs, ERASED_FROM + users);
  actions.push(...erased);
  actions.push(...oldLogs(random.branch('old logs'), actions, durationUs));
  actions.sort((a, b) => a.atUs - b.atUs);
  const partitions = random.pick([1, 2, 3]);
  const lingering = random.branch('lingers');
  // Behind a disk that broke, more may come to light at any time, and nobody is there to look after it.
  const isSound = !actions.some(({ action }) => BREAKAGES.has(action.kind));
  const lingers = lingering.oneIn(30) || (erased.length > 0 && isSound && lingering.oneIn(4));
  return { seed, partitions, durationUs, users, trims, lingers, actions };
}

/** Transactions of the mutable tables, and now and then of all. */
function changes(random: Random, durationUs: number, users: number): TimedAction[] {
  const perSecond = random.pick([0, 2, 8, 20]);
  const count = Math.min(120, Math.ceil((perSecond * durationUs) / SECOND));
  return Array.from({ length: count }, () => {
    const statements = Array.from({ length: random.pick([1, 1, 2, 5]) }, () => drawDml(random, users));
    const row = { user: random.between(1, users), amount: random.between(-100, 1000), lateUs: 0 };
    const action = { kind: 'change' as const, rows: random.oneIn(4) ? [row] : [], statements };
    return { atUs: random.between(0, durationUs), action };
  });
}

/** Changes of a table's shape, and releases of what is held for them: while the shape is wrong, or after. */
function renames(random: Random, durationUs: number): TimedAction[] {
  const count = random.oneIn(5) ? random.pick([1, 1, 2]) : 0;
  return Array.from({ length: count }, () => {
    const atUs = random.between(0, durationUs);
    const forUs = random.pick([200_000, SECOND, 3 * SECOND, 8 * SECOND]);
    const afterUs = random.pick([0, forUs / 2, forUs, 3 * SECOND]);
    return [
      { atUs, action: { kind: 'rename' as const, forUs } },
      { atUs: atUs + afterUs, action: { kind: 'release' as const } },
    ];
  }).flat();
}

/** Who is to be erased is numbered from here on: seven bytes of the key that nothing else has. */
const ERASED_FROM = 5_512_873_329_871_000;

/** Somebody who has rows for a while, and whom the mesh is to forget then; he may write again after that. */
function erasures(random: Random, durationUs: number, user: number): TimedAction[] {
  if (!random.oneIn(5)) return [];
  const eraseUs = random.between(2 * SECOND, durationUs);
  const rows = Array.from({ length: random.between(1, 12) }, () => ({
    atUs: random.between(0, eraseUs - 1),
    action: {
      kind: 'commit' as const,
      rows: [{ user, amount: random.between(1, 1000), lateUs: random.oneIn(4) ? random.between(0, 30) * SECOND : 0 }],
    },
  }));
  return [...rows, ...ahead(random.branch('ahead'), eraseUs, user), ...erasure(random.branch('erase'), eraseUs, user)];
}

/** A row that leads every clock, and lies in quarantine until it is erased. */
function ahead(random: Random, eraseUs: number, user: number): TimedAction[] {
  if (random.oneIn(2)) return [];
  const rows = [{ user, amount: 1, lateUs: -3_600 * SECOND }];
  return [{ atUs: random.between(0, eraseUs - 1), action: { kind: 'commit', rows } }];
}

/** Whose a step of an erase is. */
const DOERS: Readonly<Record<EraseStep, readonly Machine[]>> = {
  begin: ['ingest'],
  forget: COMPUTES,
  confirm: ['edge-1', 'edge-2'],
  note: ['ingest'],
  complete: ['ingest'],
};

/** The erase, with who is away meanwhile, or dies at one of its steps. */
function erasure(random: Random, eraseUs: number, user: number): TimedAction[] {
  const again = Array.from({ length: random.pick([0, 0, 1, 4]) }, () => ({
    amount: random.between(1, 1000),
    afterUs: random.between(0, 3 * SECOND),
  }));
  const strikes = Array.from({ length: random.pick([0, 0, 1, 3]) }, () => {
    const step = random.pick(['begin', 'forget', 'confirm', 'note', 'complete'] as const);
    const machine = random.pick(random.oneIn(3) ? MACHINES : DOERS[step]);
    return { step, machine, afterUs: random.between(0, 20_000) };
  });
  const erase = { kind: 'erase' as const, user, again, leavesOut: random.oneIn(2), strikes };
  const actions: TimedAction[] = [{ atUs: eraseUs, action: erase }];
  if (!random.oneIn(3)) return actions;
  const machine = random.pick(['compute-a', 'compute-b', 'edge-1', 'edge-2'] as const);
  const forUs = random.pick([SECOND, 8 * SECOND, 20 * SECOND]);
  return [{ atUs: eraseUs - random.between(0, SECOND), action: { kind: 'kill', machine, forUs } }, ...actions];
}

/** What makes the history that was captured no more the database's. */
function losses(random: Random, durationUs: number): TimedAction[] {
  const count = random.oneIn(6) ? random.pick([1, 1, 2]) : 0;
  return Array.from({ length: count }, () => {
    const atUs = random.between(SECOND, durationUs);
    if (random.oneIn(3)) return { atUs, action: { kind: 'drop-slot' } as const };
    const byUs = random.pick([0, 200_000, 2 * SECOND, 20 * SECOND]);
    return { atUs, action: { kind: 'rewind' as const, byUs, keepsSlots: random.oneIn(3) } };
  });
}

/**
 * Changes of the definitions. Some runs go to and fro between a few sets, which is what a roll-out that is taken back
 * does; some of these changes come faster than a view can be built.
 */
function definitions(random: Random, durationUs: number): TimedAction[] {
  const changes = random.pick([0, 1, 2, 3, 8]);
  // Sets 0 to 3 are written by hand, all others drawn.
  const choice = random.oneIn(2)
    ? [0, 1, 2, 3]
    : Array.from({ length: random.between(1, 4) }, () => random.between(4, 999));
  const fromUs = random.oneIn(4) ? random.between(SECOND, durationUs - SECOND) : SECOND;
  const untilUs = fromUs === SECOND ? durationUs : fromUs + SECOND;
  return Array.from({ length: changes }, () => ({
    atUs: random.between(fromUs, untilUs),
    action: { kind: 'define' as const, set: random.pick(choice) },
  }));
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
  const bounded = Array.from({ length: count }, () => ({ atUs: random.between(0, durationUs), action: fault(random) }));
  return [...bounded, ...breakages(random.branch('breakages'), durationUs)];
}

/** Disks that lie or damage files are beyond what is promised: most runs have none of them, and must converge. */
function breakages(random: Random, durationUs: number): TimedAction[] {
  const count = random.oneIn(4) ? random.pick([1, 1, 2, 4]) : 0;
  return Array.from({ length: count }, () => ({ atUs: random.between(0, durationUs), action: breakage(random) }));
}

/** What nothing is promised to be proof against. */
const BREAKAGES: ReadonlySet<Action['kind']> = new Set(['lie', 'old-log', 'flip-file']);

/** Somebody puts the log back to a copy of before definitions were written to it. */
function oldLogs(random: Random, actions: readonly TimedAction[], durationUs: number): TimedAction[] {
  if (!random.oneIn(OLD_LOG_ONE_IN)) return [];
  const defined = actions.filter(({ action, atUs }) => action.kind === 'define' && atUs > 0).map(({ atUs }) => atUs);
  const atUs = defined.length === 0 ? random.between(SECOND, durationUs) : random.pick(defined);
  const action = { kind: 'old-log' as const, afterUs: random.pick([500_000, SECOND, 3 * SECOND]) };
  return [{ atUs: atUs - random.between(0, 300_000), action }];
}

/** What no log and no store can make good by itself: what it must do is notice. */
function breakage(random: Random): Action {
  const machine = random.pick(['ingest', 'ingest', 'compute-a', 'compute-b', 'edge-1'] as const);
  const forUs = random.pick([100_000, SECOND, 3 * SECOND, 8 * SECOND]);
  if (random.oneIn(2)) return { kind: 'lie', machine, forUs, keep: random.real() };
  const files = random.pick(['ingest', 'ingest', 'compute-a', 'compute-b'] as const);
  return { kind: 'flip-file', machine: files, where: random.real(), at: random.real() };
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
