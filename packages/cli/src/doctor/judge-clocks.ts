/** Judges clocks: ours against the databases' and the registry's, and whether ours was just set. Pure. */
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
  /** "database default", "registry 10.0.0.7:7404". */
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
  for (const { whose, against, aheadUs, uncertainUs } of others) {
    const off = Math.max(0, Math.abs(aheadUs) - uncertainUs);
    const text = `the clock of ${whose} is ${durationText(Math.abs(aheadUs))} ${aheadUs < 0 ? 'behind' : 'ahead of'} that of ${against}`;
    const remedy = `set both by NTP (chronyc makestep, on the one that is wrong); freshness is told by their difference, and a row whose event time leads by more than max_skew (${durationText(MAX_SKEW_US)}) is quarantined`;
    if (off > MAX_SKEW_US) findings.problem({ message: text, remedy, place: whose });
    else if (off > NOTICEABLE_US) findings.warning({ message: text, remedy, place: whose });
    else findings.ok(`${whose} and ${against} agree to ${durationText(Math.max(Math.abs(aheadUs), uncertainUs))}`);
  }
  return findings.list;
}
