/**
 * Lineage of the definitions in force. Owns that the graph is made once per set, and the words for what is not in it.
 * Does not own the graph (@freshet/definitions/lineage.ts).
 */
import { KIND_WORDS, Lineage, type LineageEdge, type LineageNode, nodeId } from '@freshet/definitions/lineage.ts';
import { SubjectKind } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { StoredDefinitions } from '@freshet/gen/freshet/registry/v1/storage_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { compareStrings } from '@freshet/values/compare.ts';

/** An answer has at most so many edges: it is one message. */
const EDGES_MAX = 20_000;

export interface LineageAnswer {
  /** The id of what was asked for. */
  readonly subject: string;
  readonly nodes: LineageNode[];
  readonly edges: LineageEdge[];
  readonly generation: bigint;
}

export class LineageBook {
  readonly #current: () => StoredDefinitions;
  /** Of the set that was last asked about. */
  #made: { readonly of: StoredDefinitions; readonly lineage: Lineage } | undefined;

  constructor(current: () => StoredDefinitions) {
    this.#current = current;
  }

  /** Throws INVALID_REQUEST when there is no such thing, REQUEST_TOO_LARGE when the answer would be too long. */
  around(kind: SubjectKind, name: string): LineageAnswer {
    const stored = this.#current();
    const lineage = this.#lineageOf(stored);
    const node = kind === SubjectKind.COLUMN ? lineage.findColumn(name) : lineage.node(nodeId(kind, name));
    if (node === undefined) throw unknownSubject(lineage, kind, name);
    const { nodes, edges } = lineage.around(node.id);
    if (edges.length > EDGES_MAX) {
      throw new FreshetError(
        'REQUEST_TOO_LARGE',
        `the lineage of ${node.id} has ${edges.length} edges; ${EDGES_MAX} is the limit`,
        {
          remedy: 'ask for a column or a feature of it',
          place: node.id,
        },
      );
    }
    return {
      subject: node.id,
      nodes: nodes.sort((a, b) => compareStrings(a.id, b.id)),
      edges: edges.sort((a, b) => compareStrings(edgeKey(a), edgeKey(b))),
      generation: stored.resolved?.generation ?? 0n,
    };
  }

  #lineageOf(stored: StoredDefinitions): Lineage {
    if (this.#made?.of !== stored) {
      const set = stored.resolved;
      if (set === undefined || set.generation === 0n) {
        throw new FreshetError('INVALID_REQUEST', 'nothing is in force yet, so nothing has a lineage', {
          remedy: "apply definitions first: 'freshet apply features/'",
        });
      }
      this.#made = { of: stored, lineage: new Lineage(set, stored.written) };
    }
    return this.#made.lineage;
  }
}

function edgeKey({ from, to, role }: LineageEdge): string {
  return `${from}\n${to}\n${role}`;
}

function unknownSubject(lineage: Lineage, kind: SubjectKind, name: string): FreshetError {
  const word = KIND_WORDS[kind] ?? 'thing';
  const names = [...lineage.nodes].filter((node) => node.kind === kind).map((node) => node.name);
  const meant = closest(name, names);
  const list = names.length === 0 ? `there is no ${word} in force` : `there are ${names.slice(0, 20).join(', ')}`;
  return new FreshetError('INVALID_REQUEST', `no ${word} "${name}" is in force`, {
    remedy: meant === undefined ? list : `did you mean "${meant}"?`,
    place: name,
  });
}
