/**
 * What is told of held tables: the condition source/<name>/held/<route>. Owns its words, and that it is told once, and no longer
 * than it is so.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { HeldRoute } from '../core/held-index.ts';
import type { LiveRoute } from '../core/live-route.ts';
import type { Blocked } from '../core/release.ts';
import type { Route } from '../core/route.ts';

export interface HeldNoticesOptions {
  /** The database's name in definitions. */
  readonly name: string;
  readonly conditions: ConditionBoard;
}

/** What it is told by. */
export type ToldRoute = Pick<Route, 'number' | 'mode'>;

export class HeldNotices {
  readonly #options: HeldNoticesOptions;
  readonly #told = new Map<number, string>();
  #isFullTold = false;

  constructor(options: HeldNoticesOptions) {
    this.#options = options;
  }

  /** What is held of a route now, and at what its release stopped. */
  tell({ number: route, mode }: ToldRoute, held: HeldRoute | undefined, blocked: Blocked | undefined): void {
    const { conditions } = this.#options;
    if (held === undefined) {
      if (this.#told.delete(route)) conditions.clear(this.#idOf(route));
      return;
    }
    const error = heldNotice(held, mode, blocked);
    if (this.#told.get(route) === error.message) return;
    this.#told.set(route, error.message);
    conditions.raise(this.#idOf(route), error);
  }

  /** Nobody captures the others any more, or they are read anew. */
  forgetUnstreamed(streamed: readonly LiveRoute[]): void {
    const numbers = new Set(streamed.map(({ route }) => route.number));
    for (const route of this.#told.keys()) {
      if (numbers.has(route)) continue;
      this.#told.delete(route);
      this.#options.conditions.clear(this.#idOf(route));
    }
  }

  /** Whether the quarantine has no room, which a release cannot make before a build is done that waits for room itself. */
  tellFull(isSo: boolean): void {
    const { conditions, name } = this.#options;
    const id = `source/${name}/full`;
    if (!isSo && !this.#isFullTold) return;
    this.#isFullTold = isSo;
    if (isSo) conditions.raise(id, FULL);
    else conditions.clear(id);
  }

  #idOf(route: number): string {
    return `source/${this.#options.name}/held/${route}`;
  }
}

function heldNotice(held: HeldRoute, mode: SourceMode, blocked: Blocked | undefined): FreshetError {
  const { table, source, reason, detail, contractVersion, hold } = held;
  const what = hold.isWhole ? 'its rows' : 'rows of some of its keys';
  const why = detail === '' ? reason : detail;
  const still = blocked === undefined ? '' : `; a release stopped at a row of which ${blocked.detail}`;
  return new FreshetError(
    'CONTRACT_BROKEN',
    `${table} broke contract ${contractVersion} of source ${source}: ${why}; ${what} are held in quarantine${still}`,
    { remedy: remedyOf(held, mode, blocked), place: `source ${source}` },
  );
}

function remedyOf({ source, table, reason }: HeldRoute, mode: SourceMode, blocked: Blocked | undefined): string {
  if ([reason, blocked?.reason].includes('identity')) return ANEW;
  if ((blocked?.reason ?? reason) !== 'values') return releasing(source);
  return mode === SourceMode.MUTABLE ? BY_ITSELF : accepting(table.split('/')[0] ?? '');
}

const FULL = new FreshetError(
  'DISK_FULL',
  'the quarantine is full beside a build: what came since its snapshot stays there until it is live, and it may wait for room itself',
  {
    remedy:
      'Nothing is lost. Give the quarantine more room (--quarantine-bytes-max) and start ingest again. Or take the view that is ' +
      'being built out of the definitions (freshet apply), release or discard what is held, and apply it then.',
    place: 'quarantine',
  },
);

const ANEW =
  'Nothing is lost, and other tables flow. Plan and apply the definitions again (freshet plan, freshet apply), or put the key ' +
  'back as it was: the table is then read anew, as a new generation.';

const BY_ITSELF =
  'Nothing: the table is read anew by itself, as a new generation, which has what is held. Nothing is lost, and other tables flow.';

function accepting(database: string): string {
  return (
    'Nothing is lost, and other tables flow. If old and new values belong together, accept the table as it is (freshet contract ' +
    'accept --yes): held rows are then released in order. If they do not, start ingest with ' +
    `--resync ${database}=<a word not used before>: tables are then read anew, with the values that they have now.`
  );
}

function releasing(source: string): string {
  return (
    'Nothing is lost, and other tables flow. Adapt the definitions and apply them (freshet plan, freshet apply): held rows ' +
    `are then released in order. Or release them under other names (freshet quarantine release ${source} --map old=new), or ` +
    `look at them (freshet quarantine list ${source}) and drop them (freshet quarantine discard ${source}).`
  );
}
