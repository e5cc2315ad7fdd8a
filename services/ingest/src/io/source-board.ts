/**
 * What a source tells of itself: the phase that it is in with what keeps it there, and what is amiss beside that, each as a
 * condition "source/<name>…". Owns the ids of these conditions; decides nothing.
 */
import { SourceState as SourcePhase } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';

/** What may be amiss beside the phase. */
export type Beside = 'append' | 'state' | 'stage' | 'slot' | 'build' | 'change' | 'keys' | 'values';

export class SourceBoard {
  readonly #id: string;
  readonly #conditions: ConditionBoard;
  #phase: SourcePhase = SourcePhase.CONNECTING;
  #problem: FreshetError | undefined;
  #waiting: ReadonlyMap<number, FreshetError> = new Map();

  constructor({ name, conditions }: { readonly name: string; readonly conditions: ConditionBoard }) {
    this.#id = `source/${name}`;
    this.#conditions = conditions;
  }

  get phase(): SourcePhase {
    return this.#phase;
  }

  /** What keeps it in its phase. */
  get problem(): FreshetError | undefined {
    return this.#problem;
  }

  /** Enters a phase, with what keeps it there or without. */
  enter(phase: SourcePhase, problem?: FreshetError): void {
    this.#phase = phase;
    this.#problem = problem;
    if (problem === undefined) this.#conditions.clear(this.#id);
    else this.#conditions.raise(this.#id, problem, phase === SourcePhase.HALTED ? 'problem' : 'warning');
  }

  /** Looks again after a halt without leaving it: what is wrong is told until it is known to be over. */
  connect(): void {
    if (this.#phase !== SourcePhase.HALTED) this.#phase = SourcePhase.CONNECTING;
  }

  /** The routes that wait while the others flow. */
  get waiting(): ReadonlyMap<number, FreshetError> {
    return this.#waiting;
  }

  /** Tells which routes wait, each with what somebody must do; those that did and do not any more are told of no longer. */
  wait(waiting: ReadonlyMap<number, FreshetError>): void {
    for (const route of this.#waiting.keys()) {
      if (!waiting.has(route)) this.#conditions.clear(`${this.#id}/waiting/${route}`);
    }
    for (const [route, first] of waiting) {
      const all = [first, ...first.also];
      const remedy = all.flatMap((one) => one.remedy ?? []).join(' ');
      const message = `${all.map((one) => one.message).join('; ')}; its route waits, the others flow`;
      this.#conditions.raise(
        `${this.#id}/waiting/${route}`,
        { code: first.code, message, remedy, place: first.place },
        'problem',
      );
    }
    this.#waiting = waiting;
  }

  /** Tells of something beside the phase, or that it is over. */
  note(what: Beside, why: FreshetError | undefined): void {
    const id = `${this.#id}/${what}`;
    if (why === undefined) this.#conditions.clear(id);
    else this.#conditions.raise(id, why);
  }
}
