/**
 * Whom a change hurts: a verdict for each difference and each consumer of what it touches. Pure.
 *
 * Owns the rules (docs/contracts.md has them as a table). The sum of consumers decides: what nobody reads breaks nobody,
 * whatever happens to it. Does not own what is done about a verdict (gate.ts).
 */
import type { Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type Change, type ChangeHints, type ChangeKind, changesBetween } from './change.ts';
import type { ColumnUse, Consumer, SourceUsage, Way } from './usage.ts';

/** From harmless to harmful. */
export type Verdict = 'compatible' | 'compatible_with_note' | 'breaking';

/** What a change is to one consumer. */
export interface ConsumerVerdict extends Consumer {
  readonly verdict: Verdict;
  readonly ways: readonly Way[];
  /** False: the consumer cannot read rows of the new shape at all. */
  readonly readable: boolean;
}

/** What a change is to everybody. */
export interface ChangeVerdict {
  readonly change: Change;
  /** The worst of the consumers'; compatible when there are none. */
  readonly verdict: Verdict;
  /** Everybody who reads what changes, also those whom it does not hurt. */
  readonly consumers: readonly ConsumerVerdict[];
  /** What happened and what it means, in a sentence. */
  readonly sentence: string;
}

/** The sum. */
export interface Judgement {
  readonly source: string;
  readonly verdict: Verdict;
  readonly changes: readonly ChangeVerdict[];
}

/** Judges what became of a contract for those who read the source. */
export function judgeChange(before: Contract, after: Contract, usage: SourceUsage, hints: ChangeHints = {}): Judgement {
  return judgeChanges(before.source, changesBetween(before, after, hints), usage);
}

/** Judges differences that are known already. */
export function judgeChanges(source: string, changes: readonly Change[], usage: SourceUsage): Judgement {
  const judged = changes.map((change) => judgeOne(change, usage));
  return { source, verdict: worst(judged.map(({ verdict }) => verdict)), changes: judged };
}

const ORDER: readonly Verdict[] = ['compatible', 'compatible_with_note', 'breaking'];

/** The most harmful of them. */
export function worst(verdicts: readonly Verdict[]): Verdict {
  return ORDER[Math.max(0, ...verdicts.map((verdict) => ORDER.indexOf(verdict)))] ?? 'breaking';
}

/** What a change is to who reads the column's values. */
const FOR_READERS: Readonly<Record<ChangeKind, Verdict>> = {
  added: 'compatible',
  dropped: 'breaking',
  renamed: 'breaking',
  type_changed: 'breaking',
  values_rewritten: 'breaking',
  length_narrowed: 'breaking',
  length_widened: 'compatible',
  digits_narrowed: 'breaking',
  digits_widened: 'compatible',
  time_zone_changed: 'breaking',
  null_allowed: 'compatible_with_note',
  null_refused: 'compatible',
  default_changed: 'compatible_with_note',
  enum_label_added: 'compatible_with_note',
  enum_label_removed: 'breaking',
  enum_label_renamed: 'breaking',
  enum_reordered: 'compatible',
  domain_changed: 'compatible_with_note',
  primary_key_changed: 'breaking',
  replica_identity_changed: 'breaking',
  table_dropped: 'breaking',
  table_renamed: 'breaking',
};

function judgeOne(change: Change, usage: SourceUsage): ChangeVerdict {
  const consumers =
    change.column === ''
      ? usage.readers.map((reader) => judgeReader(change, reader, usage.needIdentity))
      : (usage.columns.get(change.column) ?? []).map((use) => judgeUse(change, use));
  return {
    change,
    verdict: worst(consumers.map(({ verdict }) => verdict)),
    consumers,
    sentence: sentenceOf(change, consumers.length > 0),
  };
}

function judgeReader(change: Change, reader: Consumer, needIdentity: ReadonlySet<string>): ConsumerVerdict {
  // Inserted rows alone need nobody to tell which row is meant.
  const isMoot =
    (change.kind === 'primary_key_changed' || change.kind === 'replica_identity_changed') &&
    !needIdentity.has(reader.view);
  // More of the old row than before is no loss to anybody.
  const tellsMore = change.kind === 'replica_identity_changed' && change.after === 'full';
  const verdict = isMoot || tellsMore ? 'compatible_with_note' : FOR_READERS[change.kind];
  return { ...reader, ways: [], verdict, readable: change.readable };
}

/** A row whose key or time is null reaches no fold: where that cannot be left out, nulls break. */
const NEEDS_VALUE: ReadonlySet<Way> = new Set(['key', 'event time']);

function judgeUse(change: Change, use: ColumnUse): ConsumerVerdict {
  const { column: _column, ...consumer } = use;
  const breaksKey = change.kind === 'null_allowed' && use.ways.some((way) => NEEDS_VALUE.has(way));
  const verdict = breaksKey ? 'breaking' : FOR_READERS[change.kind];
  // A rule that only tells keeps no row back: without its column it tells nothing any more, and every value stays right.
  if (use.ways.length > 0 && use.ways.every((way) => way === 'telling rule'))
    return { ...consumer, verdict: verdict === 'breaking' ? 'compatible_with_note' : verdict, readable: true };
  return { ...consumer, verdict, readable: change.readable };
}

const WRITTEN_ANEW =
  '; Postgres writes the table anew for it, as for a USING that computes other values: rows of an append source are held until ' +
  'it is accepted, since nothing tells the two apart';

/** Of another type, or with more digits behind the point; more before it, or no limit any more, change no stored value. */
function isWrittenAnew(before: string, after: string): boolean {
  const [was, is] = [before, after].map((digits) => /^\d+(?:,(\d+))?$/.exec(digits));
  if (was && is) return was[1] !== is[1];
  return was === null && is === null;
}

const WORDS: Readonly<Record<ChangeKind, (change: Change) => string>> = {
  added: ({ column, after }) => `column ${column} (${after}) is new`,
  dropped: ({ column, before }) => `column ${column} (${before}) is gone`,
  renamed: ({ column, after }) => `column ${column} is called ${after} now`,
  type_changed: ({ column, before, after }) => `column ${column} is ${after}, was ${before}`,
  values_rewritten: ({ column }) =>
    `the values of column ${column} are others: computed anew by an ALTER TABLE, or of a column made anew`,
  length_narrowed: ({ column, before, after }) =>
    `column ${column} holds less: ${after}, was ${before}; longer values are cut or refused`,
  length_widened: ({ column, before, after }) => `column ${column} holds more: ${after}, was ${before}`,
  digits_narrowed: ({ column, before, after }) =>
    `column ${column} has fewer digits: ${after}, was ${before}; values are rounded or refused`,
  digits_widened: ({ column, before, after }) =>
    `column ${column} has more digits: ${after}, was ${before}${isWrittenAnew(before, after) ? WRITTEN_ANEW : ''}`,
  time_zone_changed: ({ column, before, after }) =>
    `column ${column} is ${after}, was ${before}; the same text means another time`,
  null_allowed: ({ column }) => `column ${column} may be null now`,
  null_refused: ({ column }) => `column ${column} is never null now`,
  default_changed: ({ column, before, after }) =>
    `the default of column ${column} is ${after || 'null'}, was ${before || 'null'}; rows that give none differ`,
  enum_label_added: ({ column, after }) => `column ${column} has a new label '${after}'`,
  enum_label_removed: ({ column, before }) => `column ${column} has no label '${before}' any more`,
  enum_label_renamed: ({ column, before, after }) => `column ${column}: label '${before}' is '${after}' now`,
  enum_reordered: ({ column, after }) => `the labels of column ${column} are in another order: ${after}`,
  domain_changed: ({ column, before, after }) =>
    `the domain of column ${column} is ${after || 'none'}, was ${before || 'none'}`,
  primary_key_changed: ({ before, after }) => `the primary key is ${after || 'none'}, was ${before || 'none'}`,
  replica_identity_changed: ({ before, after }) => `the replica identity is ${after}, was ${before}`,
  table_dropped: () => 'the table is gone',
  table_renamed: ({ before, after }) => `the table is called ${after} now, was ${before}`,
};

/** A difference in words: "column sku holds less: 10, was 20; …". */
export function changeText(change: Change): string {
  return WORDS[change.kind](change);
}

function sentenceOf(change: Change, isRead: boolean): string {
  const words = changeText(change);
  return isRead || change.kind === 'added' ? `${words}.` : `${words}; nobody reads it.`;
}
