/**
 * Connections to nodes, shared by the shards that are followed from them.
 *
 * Owns their opening and closing: one per node, kept for a while after its last use, because a node that is down is
 * asked again soon, by every shard.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  SubscribeChangesRequestSchema,
  SubscribeChangesResponse,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';

/** A connection to a node that streams changes. */
export interface ChangesClient {
  subscribeChanges(
    request: MessageInitShape<typeof SubscribeChangesRequestSchema>,
    options: { signal: AbortSignal },
  ): AsyncIterable<SubscribeChangesResponse>;
  close(): void;
}

const KEPT_US = 10_000_000;

interface Connection {
  readonly client: ChangesClient;
  users: number;
  idleSinceUs: number;
}

export class Connections {
  readonly #connect: (address: string) => ChangesClient;
  readonly #open = new Map<string, Connection>();

  constructor(connect: (address: string) => ChangesClient) {
    this.#connect = connect;
  }

  /** How many streams the node is asked for. */
  load(address: string): number {
    return this.#open.get(address)?.users ?? 0;
  }

  take(address: string): ChangesClient {
    let connection = this.#open.get(address);
    if (connection === undefined) {
      connection = { client: this.#connect(address), users: 0, idleSinceUs: 0 };
      this.#open.set(address, connection);
    }
    connection.users += 1;
    return connection.client;
  }

  release(address: string, nowUs: number): void {
    const connection = this.#open.get(address);
    if (connection === undefined) return;
    connection.users -= 1;
    connection.idleSinceUs = nowUs;
  }

  /** Closes those that nobody has used for a while. */
  closeIdle(nowUs: number): void {
    for (const [address, { client, users, idleSinceUs }] of this.#open) {
      if (users > 0 || nowUs - idleSinceUs < KEPT_US) continue;
      this.#open.delete(address);
      client.close();
    }
  }

  closeAll(): void {
    for (const { client } of this.#open.values()) client.close();
    this.#open.clear();
  }
}
