/**
 * Tells of rows that broke a rule which only tells, as the condition source/<name>/rule/<route>/<rule>.
 *
 * Owns when it is told, and when it is over: once no further row broke the rule for `QUIET_US`. Counts are the route's
 * (core/row-rules.ts), since the stream was begun. Bounded by the routes and their rules; the board has a bound of its own.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import type { Route } from '../core/route.ts';
import type { RowRules } from '../core/row-rules.ts';

const QUIET_US = 600_000_000;

export interface RuleNoticesOptions {
  /** The database's name in definitions. */
  readonly name: string;
  readonly clock: Clock;
  readonly conditions: ConditionBoard;
}

/** What is looked at of a route. */
export type ToldRoute = Pick<Route, 'number' | 'source'> & { readonly rules: Pick<RowRules, 'told'> | undefined };

export class RuleNotices {
  readonly #options: RuleNoticesOptions;
  /** By condition, the rows that were told of, and when there were more than before. */
  readonly #told = new Map<string, { readonly rows: number; readonly atUs: number }>();

  constructor(options: RuleNoticesOptions) {
    this.#options = options;
  }

  /** Tells what is new of a route. */
  tell({ number, source, rules }: ToldRoute): void {
    const { name, conditions, clock } = this.#options;
    const nowUs = clock.nowUs();
    for (const [rule, { rows, reason }] of rules?.told ?? []) {
      const id = `source/${name}/rule/${number}/${rule}`;
      if (this.#told.get(id)?.rows === rows) continue;
      this.#told.set(id, { rows, atUs: nowUs });
      conditions.raise(id, {
        code: 'CONTRACT_BROKEN',
        message: `${rows} rows of source ${source} broke rule ${rule} and passed, as it only tells; the newest: ${reason}`,
        remedy: 'Mend what writes them, or the rule. Without only_tell such rows are held.',
        place: `source ${source}`,
      });
    }
  }

  /** Ends what was not seen for long. */
  settle(): void {
    const { conditions, clock } = this.#options;
    for (const [id, { atUs }] of this.#told) {
      if (clock.nowUs() - atUs > QUIET_US && conditions.has(id)) conditions.clear(id);
    }
  }
}
