/**
 * The live nodes, published. Joins the lease table with time: announcements come by rpc, endings by `run`.
 *
 * Owns when followers are told, and that neither a restart of the registry nor a time in which it did not run (it was
 * stopped, its machine slept) is news to them: nobody needs the registry to go on working, so a serve node must not hear
 * that compute is gone because nobody could announce himself.
 * Does not own leases (lease-table.ts) or where nodes are kept (NodeStore).
 */
import type { Node, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import { toFreshetError } from '@freshet/kit/grpc/error-mapping.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { LEASE_US, LeaseTable } from './lease-table.ts';
import { Published } from './published.ts';
import { RunTable } from './run-table.ts';

/** So often within a lease is looked for those that ended, so that a look that comes late tells a time of standstill. */
const LOOKS = 9;

/** Keeps the nodes over restarts. */
export interface NodeStore {
  loadNodes(): Promise<readonly Node[]>;
  saveNodes(nodes: readonly Node[]): Promise<void>;
}

export interface TopologyOptions {
  readonly store: NodeStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly conditions: ConditionBoard;
  readonly leaseUs?: number | undefined;
}

export class Topology {
  readonly leaseUs: number;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #conditions: ConditionBoard;
  readonly #leases: LeaseTable;
  readonly #twins: RunTable;
  readonly #nodes = new Published<readonly Node[]>([]);
  readonly #store: NodeStore;
  /** When `run` looks next; undefined while it does not. */
  #lookUs: number | undefined;
  /** The save under way; undefined when what is kept is what is live. */
  #saving: Promise<void> | undefined;

  private constructor(options: TopologyOptions) {
    this.leaseUs = options.leaseUs ?? LEASE_US;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#conditions = options.conditions;
    this.#leases = new LeaseTable(this.leaseUs);
    this.#twins = new RunTable(this.leaseUs);
    this.#store = options.store;
  }

  /** The topology with the nodes of the last run, each with a new lease. */
  static async open(options: TopologyOptions): Promise<Topology> {
    const topology = new Topology(options);
    const known = await options.store.loadNodes().catch((error: unknown) => {
      options.log.warn('the nodes of the last run cannot be read; they will announce themselves', { error });
      return [];
    });
    for (const node of known) topology.#leases.announce(node, options.clock.monotonicUs());
    topology.#nodes.publish(topology.#leases.nodes());
    return topology;
  }

  /** `run`: which run of the node it is; empty: it does not say. */
  announce(node: Node, run = ''): void {
    this.#expire();
    this.#notice(node, run);
    if (!this.#leases.announce(node, this.#clock.monotonicUs())) return;
    this.#log.info('node announced', { node: node.nodeId, role: roleName(node.role), address: node.address });
    this.#publish();
  }

  /** Raises a condition while two announce under one id in turns, and clears it when one of them is gone for a lease. */
  #notice({ nodeId, address }: Node, run: string): void {
    const nowUs = this.#clock.monotonicUs();
    const others = this.#twins.notice(nodeId, run, address, nowUs);
    if (others === undefined) return;
    const id = `nodes/${nodeId}/twice`;
    if (others.length === 0) this.#conditions.clear(id);
    else
      this.#conditions.raise(
        id,
        {
          code: 'INVALID_CONFIG',
          message: `two nodes announce themselves as ${nodeId}: at ${[...others, address].sort().join(' and ')}`,
          remedy:
            'a data directory was copied with its node-id: stop the copy, delete the file node-id in its directory, and start it again',
          place: nodeId,
        },
        'problem',
      );
  }

  leave(nodeId: string): void {
    this.#forget(nodeId);
    if (!this.#leases.leave(nodeId)) return;
    this.#log.info('node left', { node: nodeId });
    this.#publish();
  }

  /** How many nodes have a lease. */
  get size(): number {
    this.#expire();
    return this.#nodes.value.length;
  }

  /** Whether the node has a lease. */
  has(nodeId: string): boolean {
    this.#expire();
    return this.#nodes.value.some((node) => node.nodeId === nodeId);
  }

  /** The live nodes of a role, by node id ascending. */
  nodesOf(role: Role): Node[] {
    this.#expire();
    return this.#nodes.value.filter((node) => node.role === role);
  }

  /** The live nodes, now and at each change, until the signal aborts. */
  follow(signal: AbortSignal): AsyncIterable<readonly Node[]> {
    return this.#nodes.follow(signal);
  }

  /** Ends leases when they run out, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#expire();
      const end = this.#leases.nextEndUs();
      const nowUs = this.#clock.monotonicUs();
      const waitUs = Math.min(this.leaseUs / LOOKS, end === undefined ? Infinity : end - nowUs);
      const waitMs = Math.max(1, Math.ceil(waitUs / 1000));
      this.#lookUs = nowUs + waitMs * 1000;
      await this.#clock.sleep(waitMs, signal).catch(() => undefined);
    }
    this.#lookUs = undefined;
  }

  /** Resolves when everything that was announced is kept. */
  async settle(): Promise<void> {
    await this.#saving;
  }

  #publish(): void {
    this.#nodes.publish(this.#leases.nodes());
    this.#saving ??= this.#save();
  }

  /** Saves until what is kept is what is live; changes while a save is under way share the next one. */
  async #save(): Promise<void> {
    let saved: readonly Node[] | undefined;
    try {
      while (saved !== this.#nodes.value) {
        saved = this.#nodes.value;
        await this.#store.saveNodes(saved);
      }
      this.#conditions.clear('nodes/not-kept');
    } catch (error) {
      const { code, message, remedy, place } = toFreshetError(error);
      const text = `the nodes cannot be kept; after a restart they will announce themselves: ${message}`;
      this.#conditions.raise('nodes/not-kept', { code, message: text, remedy, place });
    } finally {
      this.#saving = undefined;
    }
  }

  #expire(): void {
    const nowUs = this.#clock.monotonicUs();
    const lateUs = nowUs - (this.#lookUs ?? nowUs);
    if (lateUs > this.leaseUs / LOOKS) {
      this.#log.warn('the registry did not run for a while; every node gets a new lease', { lateUs });
      this.#leases.renewAll(nowUs);
      this.#lookUs = nowUs;
    }
    const gone = this.#leases.expire(nowUs);
    if (gone.length === 0) return;
    for (const node of gone) {
      this.#log.warn('lease ran out', { node: node.nodeId, address: node.address });
      this.#forget(node.nodeId);
    }
    this.#publish();
  }

  /** Nobody announces a node that is gone, so nothing else would end what is known of its runs. */
  #forget(nodeId: string): void {
    this.#conditions.clear(`nodes/${nodeId}/twice`);
    this.#twins.forget(nodeId);
  }
}

const ROLE_NAMES: readonly string[] = ['none', 'ingest', 'compute', 'serve'];

/** The role as people write it: "compute". */
export function roleName(role: Role): string {
  return ROLE_NAMES[role] ?? `role ${role}`;
}
