/**
 * Who is in the mesh: one lease per node, renewed by announcing, ended by leaving or by time.
 *
 * Owns the leases. Does not own time (each call is told the present, on a clock that only goes forward), the wire or
 * the followers (topology.ts).
 *
 *     (absent) ──announce──▶ live ──announce──▶ live, lease renewed
 *        ▲                    │
 *        └──leave, lease ran out──┘
 *
 * Which nodes had a lease outlives a restart of the registry (topology.ts), and each then gets a whole new one: a node
 * that lives announces itself again well within it, and meanwhile nobody is told that it is gone.
 */
import { equals } from '@bufbuild/protobuf';
import { type Node, NodeSchema } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** A lease's length. Nodes renew within a third of it, so that two lost calls do not end it. */
export const LEASE_US = 9_000_000;
/** More nodes than this are refused: the topology is sent whole. */
export const NODES_MAX = 10_000;

interface Lease {
  readonly node: Node;
  readonly endsUs: number;
}

export class LeaseTable {
  readonly #leaseUs: number;
  readonly #leases = new Map<string, Lease>();

  constructor(leaseUs: number = LEASE_US) {
    this.#leaseUs = leaseUs;
  }

  /** Adds the node or renews its lease. Returns whether the set of live nodes, or what one says of itself, changed. */
  announce(node: Node, nowUs: number): boolean {
    const before = this.#leases.get(node.nodeId);
    if (before === undefined && this.#leases.size >= NODES_MAX) {
      throw new FreshetError('REQUEST_TOO_LARGE', `the mesh has ${NODES_MAX} nodes, which is the limit`, {
        remedy: 'stop nodes that are not needed; their leases end by themselves',
        place: node.nodeId,
      });
    }
    this.#leases.set(node.nodeId, { node, endsUs: nowUs + this.#leaseUs });
    return before === undefined || !equals(NodeSchema, before.node, node);
  }

  /** Ends the node's lease now. Returns whether there was one. */
  leave(nodeId: string): boolean {
    return this.#leases.delete(nodeId);
  }

  /** Drops the leases that ended at or before the present, and returns their nodes. */
  expire(nowUs: number): Node[] {
    const gone: Node[] = [];
    for (const [nodeId, lease] of this.#leases) {
      if (lease.endsUs > nowUs) continue;
      this.#leases.delete(nodeId);
      gone.push(lease.node);
    }
    return gone;
  }

  /** Renews every lease. */
  renewAll(nowUs: number): void {
    for (const [nodeId, { node }] of this.#leases) this.#leases.set(nodeId, { node, endsUs: nowUs + this.#leaseUs });
  }

  /** When the next lease ends; undefined when there is none. */
  nextEndUs(): number | undefined {
    let next: number | undefined;
    for (const { endsUs } of this.#leases.values()) if (next === undefined || endsUs < next) next = endsUs;
    return next;
  }

  /** The nodes with a lease, by node id ascending. Call expire first. */
  nodes(): Node[] {
    return [...this.#leases.values()].map((lease) => lease.node).sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  }
}
