/**
 * How fast things go and how long they will take, from what was measured before. Pure: the caller says what time it is.
 *
 * Owns the window over which a rate is taken. What has just begun has no rate, and what has no rate has no end.
 */
import type { BuildProgress, SnapshotProgress, SourceProgress } from './measure.ts';

const WINDOW_US = 10_000_000;

/** How fast a number grows that only grows. */
class Rate {
  readonly #samples: { readonly us: number; readonly total: number }[] = [];

  add(us: number, total: number): void {
    const last = this.#samples.at(-1);
    // Whoever counts from zero again has been started again.
    if (last !== undefined && total < last.total) this.#samples.length = 0;
    this.#samples.push({ us, total });
    while ((this.#samples[1]?.us ?? us) <= us - WINDOW_US) this.#samples.shift();
  }

  perSecond(): number | undefined {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.us <= first.us) return undefined;
    return ((last.total - first.total) * 1_000_000) / (last.us - first.us);
  }
}

/** How far the builds of a view are, over all shards. */
export interface BuildEstimate {
  readonly recordsDone: number;
  readonly records: number;
  readonly recordsPerS: number | undefined;
  /** Microseconds; undefined as long as nobody can know. */
  readonly leftUs: number | undefined;
}

/** How far a step of a snapshot is. */
export interface SnapshotEstimate extends SnapshotProgress {
  readonly rowsPerS: number | undefined;
  /** Until the step is over, microseconds, about; undefined as long as nobody can know. */
  readonly leftUs: number | undefined;
}

export class Rates {
  readonly #bySource = new Map<string, SnapshotProgress & { readonly rate: Rate }>();
  readonly #byView = new Map<string, { readonly rate: Rate; folded: number }>();
  #builds = new Map<string, BuildProgress>();

  /** Takes what was measured at the time, microseconds of a clock that does not jump. */
  add(us: number, builds: readonly BuildProgress[], sources: readonly SourceProgress[]): void {
    const now = new Map(builds.map((build) => [build.key, build]));
    for (const { view } of [...builds, ...this.#builds.values()]) {
      if (!this.#byView.has(view)) this.#byView.set(view, { rate: new Rate(), folded: 0 });
    }
    for (const [key, { view, position, end }] of this.#builds) {
      // A build that is gone has folded what was left.
      const counted = this.#byView.get(view);
      if (counted !== undefined) counted.folded += Math.max(0, (now.get(key)?.position ?? end) - position);
    }
    for (const { rate, folded } of this.#byView.values()) rate.add(us, folded);
    this.#builds = now;
    for (const { database, snapshot } of sources) {
      const before = this.#bySource.get(database);
      if (snapshot === undefined) this.#bySource.delete(database);
      else {
        const rate = before?.step === snapshot.step ? before.rate : new Rate();
        rate.add(us, snapshot.rows);
        this.#bySource.set(database, { ...snapshot, rate });
      }
    }
  }

  /** How far a source's initial rows are; undefined when it reads none. */
  ofSnapshot(database: string): SnapshotEstimate | undefined {
    const known = this.#bySource.get(database);
    if (known === undefined) return undefined;
    const rowsPerS = known.rate.perSecond();
    const { step, rows, rowsExpected } = known;
    // The planner may have been wrong: of more rows than there should be nobody knows the end.
    const left = rowsExpected === undefined || rows > rowsExpected ? undefined : rowsExpected - rows;
    return { step, rows, rowsExpected, rowsPerS, leftUs: leftUs(left, rowsPerS) };
  }

  /** How far the view's builds are; undefined when it has none. */
  ofView(view: string): BuildEstimate | undefined {
    return estimate(
      [...this.#builds.values()].filter((build) => build.view === view),
      this.#byView.get(view)?.rate.perSecond(),
    );
  }
}

function estimate(builds: readonly BuildProgress[], recordsPerS: number | undefined): BuildEstimate | undefined {
  if (builds.length === 0) return undefined;
  const records = builds.reduce((sum, { end }) => sum + end, 0);
  const recordsDone = builds.reduce((sum, { position, end }) => sum + Math.min(position, end), 0);
  return { recordsDone, records, recordsPerS, leftUs: leftUs(records - recordsDone, recordsPerS) };
}

function leftUs(left: number | undefined, perS: number | undefined): number | undefined {
  return left === undefined || perS === undefined || perS <= 0 ? undefined : (left / perS) * 1_000_000;
}
