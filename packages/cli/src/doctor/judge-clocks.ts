/** Judges clocks: ours against those of databases, registry and nodes, and whether ours was just set. Pure. */
import { durationText } from '../output/values.ts';
import { type Finding, Findings } from './finding.ts';

export interface ClockFacts {
  /** How far our wall clock moved against our monotonic one while the doctor looked, microseconds. */
  readonly steppedUs: number;
  /** Over how long, microseconds. */
  readonly watchedUs: number;
  readonly others: readonly OtherClock[];
}

export interface OtherClock {
  /** "database default", "registry 10.0.0.7:7404", "serve 10.0.0.9:7403". */
  readonly whose: string;
  /** Whose clock it was compared with: "this machine", "ingest". */
  readonly against: string;
  /** How far it is ahead, microseconds. */
  readonly aheadUs: number;
  /** Half of the time that asking took, microseconds. */
  readonly uncertainUs: number;
}

/** A record whose event time leads by more is quarantined (max_skew's default). */
const MAX_SKEW_US = 5_000_000;
const NOTICEABLE_US = 500_000;
const STEP_US = 50_000;

export function judgeClocks({ steppedUs, watchedUs, others }: ClockFacts): Finding[] {
  const findings = new Findings('clocks');
  if (Math.abs(steppedUs) > STEP_US) {
    findings.warning({
      message: `this machine's clock was set by ${durationText(steppedUs)} within ${durationText(watchedUs)}`,
      remedy: 'let NTP slew it (chronyc tracking, timedatectl timesync-status); the log takes no jump for real time',
    });
  } else findings.ok('the clock of this machine runs evenly');
  for (const other of others) {
    const { whose, against, aheadUs, uncertainUs } = other;
    const text = { message: differenceText(whose, aheadUs, against), remedy: REMEDY, place: whose };
    if (surelyUs(other) > MAX_SKEW_US) findings.problem(text);
    else if (surelyUs(other) > NOTICEABLE_US) findings.warning(text);
    else findings.ok(`${whose} and ${against} agree to ${durationText(Math.max(Math.abs(aheadUs), uncertainUs))}`);
  }
  judgeFurthest(findings, others);
  return findings.list;
}

const REMEDY = `set both by NTP (chronyc makestep, on the one that is wrong); freshness is told by their difference, windows end by the clock of who reads, and a row whose event time leads ingest's clock by more than max_skew (by default ${durationText(MAX_SKEW_US)}) is quarantined`;

/** How far it is off at the least. */
function surelyUs({ aheadUs, uncertainUs }: Pick<OtherClock, 'aheadUs' | 'uncertainUs'>): number {
  return Math.max(0, Math.abs(aheadUs) - uncertainUs);
}

/** Two that lie on either side of ours may be too far apart where neither is too far from ours. */
function judgeFurthest(findings: Findings, others: readonly OtherClock[]): void {
  const toOurs = others.filter(({ against }) => against === 'this machine').sort((a, b) => a.aheadUs - b.aheadUs);
  const [behind, ahead] = [toOurs[0], toOurs.at(-1)];
  if (behind === undefined || ahead === undefined) return;
  if (Math.max(surelyUs(behind), surelyUs(ahead)) > MAX_SKEW_US) return;
  const aheadUs = ahead.aheadUs - behind.aheadUs;
  if (surelyUs({ aheadUs, uncertainUs: ahead.uncertainUs + behind.uncertainUs }) <= MAX_SKEW_US) return;
  findings.problem({
    message: differenceText(ahead.whose, aheadUs, behind.whose),
    remedy: REMEDY,
    place: ahead.whose,
  });
}

function differenceText(whose: string, aheadUs: number, against: string): string {
  return `the clock of ${whose} is ${durationText(Math.abs(aheadUs))} ${aheadUs < 0 ? 'behind' : 'ahead of'} that of ${against}`;
}
