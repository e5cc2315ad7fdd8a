/**
 * When a serve node may be sent readers: once everything that the definitions have is served, in some generation. Stays
 * so: staleness is reported by every answer and is no reason to turn readers away.
 */
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Catalog } from '@freshet/replica/catalog.ts';

export interface Known {
  readonly catalog: Catalog;
  /** The newest definitions known. */
  readonly definitions: DefinitionSet | undefined;
}

export class Readiness {
  #ready = false;

  /**
   * Whether the node is ready, now or before. `asked`: the registry said which definitions there are, so that none
   * known means that there are none.
   */
  update({ catalog, definitions }: Known, asked: boolean): boolean {
    if (this.#ready) return true;
    if (definitions === undefined) this.#ready = asked;
    else this.#ready = definitions.services.every(({ name }) => catalog.services.has(name));
    return this.#ready;
  }
}
