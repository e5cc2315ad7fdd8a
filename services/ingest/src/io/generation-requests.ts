/**
 * Which routes were asked to begin anew, over restarts: a sealed JSON file, generations.json.
 *
 * Owns what is wanted: by route, the newest generation that does not serve. A request is carried out when a higher one has
 * begun (core/source-state.ts: endAsked), and from then on says nothing; so asking again, and a file that was not yet
 * rid of it, are harmless. A damaged file is set aside: whoever needs a route asks again.
 * Bounded: ROUTES_MAX routes; those carried out, and those that no definitions have, go first.
 */
import { dirname } from 'node:path';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import type { GenerationAnswered, GenerationWanted } from '@freshet/log/generation-requests.ts';
import { openSealedJson, readToActOn, replaceFile, sealJson } from '@freshet/log/whole-file.ts';
import { onDisk } from './on-disk.ts';
import { setAside } from './set-aside.ts';

const ROUTES_MAX = 4_096;
/** What is asked for is the next generation at once and for good: beyond this somebody is wrong, or means harm. */
const ABOVE_END = 2 ** 30;

export interface GenerationRequestsOptions {
  readonly files: FileSystem;
  readonly path: string;
  /** Requests about another log are forgotten with it. */
  readonly logId: string;
  readonly logger: Logger;
}

export interface Asked {
  readonly above: number;
  /** Why, as the asker said. */
  readonly reason: string;
}

export class GenerationRequests {
  readonly #options: GenerationRequestsOptions;
  #asked: ReadonlyMap<number, Asked>;
  #saving: Promise<unknown> = Promise.resolve();
  readonly #listeners = new Set<() => void>();

  private constructor(options: GenerationRequestsOptions, asked: ReadonlyMap<number, Asked>) {
    this.#options = options;
    this.#asked = asked;
  }

  static async open(options: GenerationRequestsOptions): Promise<GenerationRequests> {
    return new GenerationRequests(options, await load(options));
  }

  /** What is asked of the route; undefined: nothing ever was. */
  of(route: number): Asked | undefined {
    return this.#asked.get(route);
  }

  /** Calls back when something new is asked; returns what undoes that. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Takes requests; resolves once what is accepted is durable. `newest` gives a route's newest generation, 0 when it has none
   * yet, undefined when it is no route of the definitions in force. Throws LIMIT_EXCEEDED, INVALID_REQUEST, or what the disk refuses.
   */
  ask(
    node: string,
    wanted: readonly GenerationWanted[],
    newest: (route: number) => number | undefined,
  ): Promise<GenerationAnswered[]> {
    const done = this.#saving.then(() => this.#ask(node, wanted, newest));
    this.#saving = done.catch(() => undefined);
    return done;
  }

  async #ask(
    node: string,
    wanted: readonly GenerationWanted[],
    newest: (route: number) => number | undefined,
  ): Promise<GenerationAnswered[]> {
    const wrong = wanted.find(({ aboveGeneration }) => !(aboveGeneration < ABOVE_END));
    if (wrong !== undefined) {
      throw new FreshetError(
        'INVALID_REQUEST',
        `route ${wrong.route} cannot have a generation ${wrong.aboveGeneration}`,
        {
          remedy: 'Ask for one above a generation that is in the log.',
          place: 'above_generation',
        },
      );
    }
    const next = new Map([...this.#asked].filter(([route, { above }]) => (newest(route) ?? Infinity) <= above));
    const answers: GenerationAnswered[] = [];
    const fresh: GenerationWanted[] = [];
    for (const request of wanted) {
      const { route, aboveGeneration } = request;
      const generation = newest(route);
      if (generation === undefined) answers.push({ route, verdict: 'unknown', generation: 0 });
      else if (generation > aboveGeneration) answers.push({ route, verdict: 'begun', generation });
      else {
        answers.push({ route, verdict: 'accepted', generation });
        if ((next.get(route)?.above ?? -1) >= aboveGeneration) continue;
        next.set(route, { above: aboveGeneration, reason: request.reason });
        fresh.push(request);
      }
    }
    if (fresh.length === 0) return answers;
    if (next.size > ROUTES_MAX) {
      throw new FreshetError('LIMIT_EXCEEDED', `${next.size} routes are asked to begin anew at once`, {
        remedy: 'Wait until some of them have begun: ask again in a minute.',
      });
    }
    await this.#save(next);
    this.#asked = next;
    for (const { route, aboveGeneration, reason } of fresh) {
      this.#options.logger.warn('a route was asked to begin anew', { route, above: aboveGeneration, reason, node });
    }
    for (const listener of [...this.#listeners]) listener();
    return answers;
  }

  #save(asked: ReadonlyMap<number, Asked>): Promise<void> {
    const { files, path, logId } = this.#options;
    const routes = [...asked].map(([route, { above, reason }]) => ({ route, above, reason }));
    return onDisk(path, async () => {
      await files.makeDirectory(dirname(path));
      await replaceFile(files, path, sealJson({ version: 1, logId, routes }));
    });
  }
}

function load({ files, path, logId, logger }: GenerationRequestsOptions): Promise<Map<number, Asked>> {
  return onDisk(path, async () => {
    const bytes = await readToActOn(files, path);
    if (bytes === undefined) return new Map<number, Asked>();
    try {
      const json = openSealedJson(bytes, path) as { logId?: string; routes?: ({ route: number } & Asked)[] };
      if (json.logId !== logId || json.routes === undefined) return new Map<number, Asked>();
      return new Map(json.routes.map(({ route, above, reason }) => [route, { above, reason }]));
    } catch (error) {
      const keptAt = await setAside(files, path);
      logger.error('the requests for new generations are damaged; they are made anew', { error, keptAt });
      return new Map<number, Asked>();
    }
  });
}
