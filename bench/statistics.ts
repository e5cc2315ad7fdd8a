/** Medians of interleaved runs: A B A B …, so that a machine whose speed drifts drifts for both. */

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? 0;
}

export interface Interleaved {
  readonly subject: number;
  readonly baseline: number;
  /** The median of subject / baseline, run by run. */
  readonly ratio: number;
}

/** Runs subject and baseline in turn; both return what is measured. */
export async function interleave(
  runs: number,
  subject: () => Promise<number>,
  baseline: () => Promise<number>,
): Promise<Interleaved> {
  const subjects: number[] = [];
  const baselines: number[] = [];
  for (let run = 0; run < runs; run++) {
    subjects.push(await subject());
    baselines.push(await baseline());
  }
  const ratios = subjects.map((value, i) => value / (baselines[i] ?? Number.NaN));
  return { subject: median(subjects), baseline: median(baselines), ratio: median(ratios) };
}

export function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
