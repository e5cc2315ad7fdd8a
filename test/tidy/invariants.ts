/**
 * The invariants of the design, by id. A test that proves one names it in its title; the tidy test holds both
 * directions; docs/invariants.md is generated from here.
 */

export interface Invariant {
  readonly id: string;
  readonly text: string;
}

export const INVARIANTS: readonly Invariant[] = [
  {
    id: 'F1',
    text: 'The fold is pure: the same prefix gives the same rows at the same versions and the same digest, on any machine, with any batch or commit boundaries.',
  },
  {
    id: 'F2',
    text: "A row at version v equals the definition at every T from the row's log time on, until a newer version exists.",
  },
  {
    id: 'F3',
    text: 'No record is folded twice, none is skipped: offsets are contiguous, marks never go back within a lane.',
  },
  {
    id: 'L1',
    text: 'What append acknowledged is never lost; what it did not is either wholly there or not at all.',
  },
  {
    id: 'L2',
    text: 'The log reaches back at least to a verified checkpoint of every shard.',
  },
  {
    id: 'R1',
    text: "A replica that is complete through X holds exactly compute's rows at X or newer versions of them; equal bytes at equal versions, also across a crash. It resumes from its cursor and misses nothing.",
  },
  {
    id: 'R2',
    text: 'All features of one view and key in one answer come from one version; one replica process never shows a version going back.',
  },
  { id: 'R3', text: 'A replica never mixes two logs, and never serves half a bootstrap as whole.' },
  { id: 'R4', text: 'Memory is bounded whatever a slow subscriber, a hot key or a large transaction does.' },
  { id: 'I1', text: 'A source position is acknowledged upstream only after its records are durable in the log.' },
  {
    id: 'I2',
    text: 'No placeholder (unchanged TOAST, zero-filled before image) ever reaches a feature.',
  },
  {
    id: 'C1',
    text: 'A contract-breaking row never reaches a fold; it is in quarantine, in order, and can be replayed.',
  },
];
