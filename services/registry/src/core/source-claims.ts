/**
 * Which node captures which database: at most one at any time.
 *
 * Owns the claims. A claim does not end with its node's lease. A node goes on capturing while it cannot reach the registry,
 * so a lease that ran out says nothing about whether it still captures, and giving its database to another node would make
 * two logs of one source. A claim ends when its node has stopped capturing and says so, when a person who knows that the node
 * is gone says so, or, once the lease is over, when another node uses the same slot and sees that nobody streams from it:
 * Postgres lets only one at a time.
 *
 *     free ──claim──▶ held by n ──claim by n──▶ held by n (nothing changes)
 *      ▲                │  ├──claim by m──▶ told: held by n
 *      │                │  └──n has no lease, m uses the same slot──▶ held by m
 *      └──released──────┘
 *
 * Invariants: a claim is durable before anybody hears of it; an epoch only goes up, by one with each new holder.
 * Bounded: DATABASES_MAX claims (R4).
 */
import { create } from '@bufbuild/protobuf';
import { type SourceClaim, SourceClaimSchema } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

const DATABASES_MAX = 10_000;

/** Keeps the claims over restarts. */
export interface ClaimStore {
  loadClaims(): Promise<readonly SourceClaim[]>;
  /** Replaces all of them. Resolves when they are durable. */
  saveClaims(claims: readonly SourceClaim[]): Promise<void>;
}

export interface SourceClaimsOptions {
  readonly store: ClaimStore;
  readonly clock: { nowUs(): number };
  /** Whether a node has a lease. */
  readonly isAlive: (nodeId: string) => boolean;
}

export class SourceClaims {
  readonly #options: SourceClaimsOptions;
  #claims: ReadonlyMap<string, SourceClaim>;
  /** The end of the last change begun; changes queue behind it. Bounded by the server's limit of calls. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(options: SourceClaimsOptions, claims: readonly SourceClaim[]) {
    this.#options = options;
    this.#claims = new Map(claims.map((claim) => [claim.database, claim]));
  }

  static async open(options: SourceClaimsOptions): Promise<SourceClaims> {
    return new SourceClaims(options, await options.store.loadClaims());
  }

  /** Those that are held, by database. */
  list(): SourceClaim[] {
    return [...this.#claims.values()]
      .filter(({ nodeId }) => nodeId !== '')
      .map((claim) => this.#told(claim))
      .sort((a, b) => (a.database < b.database ? -1 : 1));
  }

  /** Claims what is free of the databases for a node; tells who holds each, in order. */
  claim(nodeId: string, databases: readonly string[], takeOver = false): Promise<SourceClaim[]> {
    return this.#inTurn(async () => {
      const next = new Map(this.#claims);
      const sinceUs = BigInt(this.#options.clock.nowUs());
      for (const database of databases) {
        const held = next.get(database);
        const isFree = held === undefined || held.nodeId === '';
        const isMine = held?.nodeId === nodeId;
        if (isMine || !(isFree || (takeOver && !this.#options.isAlive(held.nodeId)))) continue;
        const epoch = (held?.epoch ?? 0n) + 1n;
        next.set(database, create(SourceClaimSchema, { database, nodeId, sinceUs, epoch }));
      }
      if (next.size > DATABASES_MAX) {
        throw new FreshetError('REQUEST_TOO_LARGE', `${DATABASES_MAX} databases are claimed, which is the limit`, {
          remedy: "release databases that are no longer captured: 'freshet sources release'",
        });
      }
      await this.#save(next);
      return databases.flatMap((database) => {
        const claim = next.get(database);
        return claim === undefined ? [] : [this.#told(claim)];
      });
    });
  }

  /** Frees a database: its node stopped, or a person says so. Throws INVALID_REQUEST when the node does not hold it, or has a lease and `force` is not given. */
  release(database: string, nodeId: string, force: boolean): Promise<void> {
    return this.#inTurn(async () => {
      const held = this.#claims.get(database);
      if (held === undefined || held.nodeId !== nodeId) {
        const holder = held === undefined || held.nodeId === '' ? 'nobody' : held.nodeId;
        throw new FreshetError('INVALID_REQUEST', `${nodeId} does not hold ${database}; ${holder} does`, {
          remedy: "look at 'freshet sources' and name the node that holds it",
          place: database,
        });
      }
      if (this.#options.isAlive(nodeId) && !force) {
        throw new FreshetError('INVALID_REQUEST', `${nodeId} holds ${database} and is alive`, {
          remedy: 'stop the node, which frees what it holds; --force takes it from a node that will not capture again',
          place: database,
        });
      }
      await this.#free((claim) => claim.database === database);
    });
  }

  async #free(which: (claim: SourceClaim) => boolean): Promise<void> {
    const next = new Map(this.#claims);
    for (const claim of this.#claims.values()) {
      // The epoch stays, so that the next holder's is another one.
      if (claim.nodeId !== '' && which(claim))
        next.set(claim.database, create(SourceClaimSchema, { database: claim.database, epoch: claim.epoch }));
    }
    await this.#save(next);
  }

  async #save(next: ReadonlyMap<string, SourceClaim>): Promise<void> {
    const isSame =
      next.size === this.#claims.size && [...next].every(([key, claim]) => this.#claims.get(key) === claim);
    if (isSame) return;
    await this.#options.store.saveClaims([...next.values()]);
    this.#claims = next;
  }

  #told(claim: SourceClaim): SourceClaim {
    return create(SourceClaimSchema, { ...claim, alive: claim.nodeId !== '' && this.#options.isAlive(claim.nodeId) });
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(change);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
