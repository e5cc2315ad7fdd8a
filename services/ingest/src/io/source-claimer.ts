/**
 * Claims databases at the registry, so that no two nodes capture one at a time.
 *
 * Owns what a claim's answer means here. With the registry down, or not well, a node goes on with what it captured before, and says so;
 * what it never captured waits, since nobody can tell whether another node does. Does not own claims (the registry does).
 */
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import type { SourceState } from '../core/source-state.ts';
import type { ClaimedDatabase } from './postgres-source-options.ts';

const CLAIM_MS = 3_000;
const RELEASE_MS = 500;

/**
 * What is claimed, from what the source found. It claims before anything of the database is made or read: two logs of one
 * database would be two truths.
 */
export function claimed(
  systemId: string,
  database: string,
  state: Pick<SourceState, 'systemId' | 'slot'>,
  slot: { readonly active: boolean } | undefined,
): ClaimedDatabase {
  // Of a slot that another node made nothing can be captured: taking the claim over would keep its maker out, for nothing.
  const isSlotIdle = state.slot !== 'none' && slot !== undefined && !slot.active;
  return { identity: `${systemId}/${database}`, isOurs: state.systemId === systemId, isSlotIdle };
}

export class SourceClaimer {
  readonly #nodeId: string;
  readonly #client: GrpcClient<typeof RegistryService>;
  readonly #registry: string;
  readonly #conditions: ConditionBoard;
  /** What this node holds, as far as it knows. */
  readonly #held = new Set<string>();

  constructor(options: {
    readonly registry: string;
    readonly nodeId: string;
    readonly conditions: ConditionBoard;
  }) {
    this.#registry = options.registry;
    this.#nodeId = options.nodeId;
    this.#conditions = options.conditions;
    this.#client = createGrpcClient(RegistryService, options.registry);
  }

  /** Resolves when the database may be captured. Throws SOURCE_NOT_READY or UNAVAILABLE. */
  async claim({ identity, isOurs, isSlotIdle }: ClaimedDatabase, signal: AbortSignal): Promise<void> {
    const id = `claims/${identity}`;
    let holder: string;
    try {
      const request = { nodeId: this.#nodeId, databases: [identity], takeOver: isSlotIdle };
      const { claims } = await this.#client.claimSources(request, { signal, deadlineMs: CLAIM_MS });
      holder = claims[0]?.nodeId ?? '';
    } catch (error) {
      if (signal.aborted || !isFreshetError(error)) throw error;
      if (!isOurs) {
        if (!isFreshetError(error, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw error;
        throw new FreshetError('UNAVAILABLE', `the registry cannot tell whether another node captures ${identity}`, {
          remedy: 'start the registry; what this node captured before goes on without it',
          place: this.#registry,
          cause: error,
        });
      }
      this.#conditions.raise(id, {
        code: 'UNAVAILABLE',
        message: `the registry gave no answer when ${identity} was connected to (${error.message}): it is captured as before, and whether another node claims it is not known`,
        remedy:
          'start the registry; it is asked again when the database is next connected to, and this stays until then',
        place: this.#registry,
      });
      return;
    }
    this.#conditions.clear(id);
    if (holder === this.#nodeId) {
      this.#held.add(identity);
      return;
    }
    this.#held.delete(identity);
    throw new FreshetError('SOURCE_NOT_READY', `node ${holder} captures ${identity}, and only one node may at a time`, {
      remedy: `stop that node; if it is gone for good: freshet sources release ${identity} --node ${holder}`,
      place: identity,
    });
  }

  /** Frees what is held; called once nothing is captured any more. What cannot be told now stays with this node. */
  async close(): Promise<void> {
    for (const database of this.#held) {
      const request = { database, nodeId: this.#nodeId, force: true };
      await this.#client.releaseSource(request, { deadlineMs: RELEASE_MS }).catch(() => undefined);
    }
    this.#client.close();
  }
}
