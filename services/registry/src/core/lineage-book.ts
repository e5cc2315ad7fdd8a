/**
 * Lineage of the definitions in force, to those who read. Owns that the graph is made once per set, that readers are put behind
 * its services, and the words for what is not in it. Does not own the graph (@freshet/definitions/lineage.ts) or who reads
 * (reader-book.ts).
 */
import { KIND_WORDS, Lineage, type LineageEdge, type LineageNode, nodeId } from '@freshet/definitions/lineage.ts';
import { SubjectKind } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { StoredDefinitions, StoredReader } from '@freshet/gen/freshet/registry/v1/storage_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { compareStrings } from '@freshet/values/compare.ts';
import type { ReaderBook } from './reader-book.ts';

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

  readonly #readers: Pick<ReaderBook, 'of' | 'by' | 'names'>;

  constructor(current: () => StoredDefinitions, readers: Pick<ReaderBook, 'of' | 'by' | 'names'>) {
    this.#current = current;
    this.#readers = readers;
  }

  /** Throws INVALID_REQUEST when there is no such thing, REQUEST_TOO_LARGE when the answer would be too long. */
  around(kind: SubjectKind, name: string): LineageAnswer {
    const stored = this.#current();
    const lineage = this.#lineageOf(stored);
    const { subject, nodes, edges } =
      kind === SubjectKind.READER ? this.#aroundReader(lineage, name) : this.#around(lineage, kind, name);
    if (edges.length > EDGES_MAX) {
      throw new FreshetError(
        'REQUEST_TOO_LARGE',
        `the lineage of ${subject} has ${edges.length} edges; ${EDGES_MAX} is the limit`,
        {
          remedy: 'ask for a column or a feature of it',
          place: subject,
        },
      );
    }
    return {
      subject,
      nodes: nodes.sort((a, b) => compareStrings(a.id, b.id)),
      edges: edges.sort((a, b) => compareStrings(edgeKey(a), edgeKey(b))),
      generation: stored.resolved?.generation ?? 0n,
    };
  }

  #around(lineage: Lineage, kind: SubjectKind, name: string): Omit<LineageAnswer, 'generation'> {
    const node = kind === SubjectKind.COLUMN ? lineage.findColumn(name) : lineage.node(nodeId(kind, name));
    const names = [...lineage.nodes].filter((one) => one.kind === kind).map((one) => one.name);
    if (node === undefined) throw unknownSubject(kind, name, names);
    const { nodes, edges } = lineage.around(node.id);
    const readers = new Map<string, LineageNode>();
    for (const service of nodes.filter((one) => one.kind === SubjectKind.SERVICE)) {
      for (const reader of this.#readers.of(service.name)) {
        const other = readerNode(reader.reader);
        readers.set(other.id, other);
        edges.push(readEdge(service.id, other.id, reader));
      }
    }
    return { subject: node.id, nodes: [...nodes, ...readers.values()], edges };
  }

  #aroundReader(lineage: Lineage, name: string): Omit<LineageAnswer, 'generation'> {
    const reads = this.#readers.by(name === UNNAMED ? '' : name);
    const node = readerNode(name === UNNAMED ? '' : name);
    if (reads.length === 0) throw unknownSubject(SubjectKind.READER, name, this.#readers.names.map(shownReader));
    // What it read that is not in force any more has no lineage.
    const known = reads.filter(({ service }) => lineage.node(nodeId(SubjectKind.SERVICE, service)) !== undefined);
    const services = known.map(({ service }) => nodeId(SubjectKind.SERVICE, service));
    const { nodes, edges } = lineage.upstream(services);
    const own = known.map((reader) => readEdge(nodeId(SubjectKind.SERVICE, reader.service), node.id, reader));
    return { subject: node.id, nodes: [...nodes, node], edges: [...edges, ...own] };
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

/** As whom those are shown that do not say who they are. */
const UNNAMED = '(unnamed)';

function shownReader(reader: string): string {
  return reader === '' ? UNNAMED : reader;
}

function readerNode(reader: string): LineageNode {
  const name = shownReader(reader);
  return { id: nodeId(SubjectKind.READER, name), kind: SubjectKind.READER, name, owner: '' };
}

function readEdge(from: string, to: string, { reads, lastUs }: StoredReader): LineageEdge {
  return { from, to, role: 'read', reads, lastUs };
}

function unknownSubject(kind: SubjectKind, name: string, names: readonly string[]): FreshetError {
  const word = KIND_WORDS[kind] ?? 'thing';
  const meant = closest(name, names);
  const list = names.length === 0 ? `there is no ${word} in force` : `there are ${names.slice(0, 20).join(', ')}`;
  return new FreshetError('INVALID_REQUEST', `no ${word} "${name}" is in force`, {
    remedy: meant === undefined ? list : `did you mean "${meant}"?`,
    place: name,
  });
}
