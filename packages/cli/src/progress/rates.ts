/**
 * How fast things go and how long they will take, from what was measured before. Pure: the caller says what time it is.
 *
 * Owns the window over which a rate is taken. What has just begun has no rate, and what has no rate has no end.
 */
import type { BuildProgress, SourceProgress } from './measure.ts';

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

export class Rates {
  readonly #bySource = new Map<string, Rate>();
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
    for (const { database, rows } of sources) {
      const rate = this.#bySource.get(database) ?? new Rate();
      rate.add(us, rows);
      this.#bySource.set(database, rate);
    }
  }

  /** Rows that a source reads a second; undefined when that is not known yet. */
  rowsPerS(database: string): number | undefined {
    return this.#bySource.get(database)?.perSecond();
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
  const leftUs =
    recordsPerS === undefined || recordsPerS <= 0 ? undefined : ((records - recordsDone) / recordsPerS) * 1_000_000;
  return { recordsDone, records, recordsPerS, leftUs };
}
