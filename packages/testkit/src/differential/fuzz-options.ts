/**
 * How often property tests over whole histories run, and how a failure is run again.
 *
 *     FRESHET_FUZZ_RUNS=10    ten times as many histories
 *     FRESHET_FUZZ_SEED=…     the histories of that seed; with FRESHET_FUZZ_PATH=… only the failing one
 */
import fc from 'fast-check';

const factor = Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1');

/** How long a test of them may take, milliseconds: as many times longer as it has more to do. */
export const FUZZ_MS_MAX = 600_000 * Math.max(1, factor);

/** Parameters for fc.assert from the environment. */
export function fuzzParameters<T>(runs: number): fc.Parameters<T> {
  const seed = process.env['FRESHET_FUZZ_SEED'];
  const path = process.env['FRESHET_FUZZ_PATH'];
  return {
    numRuns: Math.max(1, Math.round(runs * factor)),
    endOnFailure: false,
    ...(seed === undefined ? {} : { seed: Number(seed) }),
    ...(path === undefined ? {} : { path }),
  };
}

/** Checks a property of random inputs; a failure says by which environment it is run again. */
export async function assertFuzz<T>(
  runs: number,
  arbitrary: fc.Arbitrary<T>,
  check: (input: T) => Promise<void>,
): Promise<void> {
  const details = await fc.check(fc.asyncProperty(arbitrary, check), fuzzParameters<[T]>(runs));
  if (!details.failed) return;
  const again = `FRESHET_FUZZ_SEED=${details.seed} FRESHET_FUZZ_PATH=${details.counterexamplePath ?? ''}`;
  const cause =
    details.errorInstance instanceof Error ? details.errorInstance : new Error(String(details.errorInstance));
  throw new Error(`${again} after ${details.numRuns} runs and ${details.numShrinks} shrinks\n${cause.message}`, {
    cause,
  });
}
