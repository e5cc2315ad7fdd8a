/**
 * What every node does with the registry: announce itself within its lease, and follow the definitions and the
 * topology. All of it retries for ever and ends nothing, because no node needs the registry to go on working; that it
 * gives no answer is a condition of the node, for as long as it is so.
 */

import { randomBytes } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Node, NodeSchema, ServiceReadsSchema } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Clock } from './clock.ts';
import type { ConditionBoard, ConditionText } from './conditions.ts';
import { type FreshetError, isAbort, isFreshetError } from './errors.ts';
import { createGrpcClient, type GrpcClient } from './grpc/client.ts';
import type { KnownNodes } from './known-nodes.ts';
import type { Logger } from './logger.ts';
import { retry } from './retry.ts';
import { RUNTIME, VERSION } from './version.ts';

const LEAVING_MS = 500;
/** With the report that was under way, and with the one behind it. */
const LEAVING_CALLS_MAX = 2;
/** How long an announcement may take at first, and at least; in between a third of the lease, which must not end by one. */
const ANNOUNCING_MS = 3_000;
const ANNOUNCING_LEAST_MS = 500;
const SILENT = 'registry/silent';

export interface RegistryLinkOptions {
  /** The registry's "host:port". */
  readonly registry: string;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly log: Logger;
  /** A number in [0, 1), for the jitter of retries. */
  readonly random?: (() => number) | undefined;
}

/** Who read what, in numbered reports: one is given until it was told, then the next. */
export interface ReadReports {
  next(): { readonly number: bigint; readonly reads: readonly MessageInitShape<typeof ServiceReadsSchema>[] };
  told(number: bigint): void;
}

/** What goes with announcing a node. */
export interface Announcing {
  /** The newest generation of definitions that the node has. */
  readonly known?: (() => bigint) | undefined;
  readonly reports?: ReadReports | undefined;
  /** Hear of a registry that gives no answer. */
  readonly conditions?: ConditionBoard | undefined;
}

export class RegistryLink {
  /** Which run of the node this is, so that two with one id can be told from one that was started again. */
  readonly #run = randomBytes(8).toString('hex');
  readonly #options: RegistryLinkOptions;
  readonly #client: GrpcClient<typeof RegistryService>;

  constructor(options: RegistryLinkOptions) {
    this.#options = options;
    this.#client = createGrpcClient(RegistryService, options.registry);
    options.signal.addEventListener('abort', () => this.#client.close(), { once: true });
  }

  /**
   * Announces the node now and within each third of its lease, until the signal; then says that it leaves, so that
   * nobody looks for it until the lease is over. `node` is asked each time, and so is `known`, the newest generation of
   * definitions that the node has: by it a registry that lost its data finds out before it gives generations again.
   * `conditions` hear of a registry that gives no answer.
   */
  async announce(
    node: () => MessageInitShape<typeof NodeSchema>,
    { known = () => 0n, reports, conditions }: Announcing = {},
  ): Promise<void> {
    const { registry, signal, clock } = this.#options;
    // A client of its own: it has to outlive the signal by one call.
    const client = createGrpcClient(RegistryService, registry);
    let deadlineMs = ANNOUNCING_MS;
    try {
      await this.#forever('announcing to the registry', async (healthy) => {
        for (;;) {
          const self = { version: VERSION, runtime: RUNTIME, ...node() };
          const report = reports?.next();
          const request = { node: self, definitionsGeneration: known(), run: this.#run, ...reported(report) };
          const answer = client.announceNode(request, { signal, deadlineMs });
          const { leaseUs } = await answer.catch((error: unknown) => {
            if (!signal.aborted && isFreshetError(error)) conditions?.raise(SILENT, silent(registry, error));
            throw error;
          });
          conditions?.clear(SILENT);
          if (report !== undefined) reports?.told(report.number);
          healthy();
          const thirdMs = Number(leaseUs) / 3000;
          deadlineMs = Math.max(ANNOUNCING_LEAST_MS, thirdMs);
          await clock.sleep(Math.max(50, thirdMs), signal);
        }
      });
      await this.#leave(client, node, reports);
    } finally {
      client.close();
    }
  }

  /**
   * Says that the node leaves. A report that was not told yet goes first; what was counted since goes with a second call. A
   * registry that is gone cannot be told; the lease ends by itself.
   */
  async #leave(
    client: GrpcClient<typeof RegistryService>,
    node: () => MessageInitShape<typeof NodeSchema>,
    reports: ReadReports | undefined,
  ): Promise<void> {
    for (let call = 1; call <= LEAVING_CALLS_MAX; call++) {
      const report = reports?.next();
      if (call > 1 && (report === undefined || report.reads.length === 0)) return;
      const last = { node: node(), leaving: true, run: this.#run, ...reported(report) };
      try {
        await client.announceNode(last, { deadlineMs: LEAVING_MS });
      } catch {
        return;
      }
      if (report !== undefined) reports?.told(report.number);
    }
  }

  /** Calls back with the definitions in force whenever they are newer than what `known` says, until the signal. */
  async followDefinitions(known: () => bigint, onDefinitions: (set: DefinitionSet) => Promise<void>): Promise<void> {
    const { signal } = this.#options;
    await this.#forever('following definitions', async (healthy) => {
      for await (const { definitions } of this.#client.watchDefinitions({ knownGeneration: known() }, { signal })) {
        healthy();
        if (definitions !== undefined && definitions.generation > known()) await ours(() => onDefinitions(definitions));
      }
    });
  }

  /**
   * Calls back with the live nodes, now and at each change, until the signal. With `known` first with those that were heard
   * of before (`isHeard` false), if any, whether the registry is there or not; those that it tells are kept there.
   */
  async followTopology(onNodes: (nodes: readonly Node[], isHeard: boolean) => void, known?: KnownNodes): Promise<void> {
    const { signal } = this.#options;
    const before = (await known?.load()) ?? [];
    if (before.length > 0 && !signal.aborted) onNodes(before, false);
    await this.#forever('following the topology', async (healthy) => {
      for await (const { nodes } of this.#client.watchTopology({}, { signal })) {
        healthy();
        await ours(() => onNodes(nodes, true));
        await known?.save(nodes);
      }
    });
  }

  async #forever(what: string, operation: (healthy: () => void) => Promise<void>): Promise<void> {
    const { signal, clock, log, random } = this.#options;
    const retryable = (error: FreshetError): boolean => !(error.cause instanceof OurFault);
    while (!signal.aborted) {
      try {
        await retry(operation, { what, signal, clock, log, random, retryable });
      } catch (error) {
        if (signal.aborted || isAbort(error)) return;
        throw error instanceof OurFault ? error.cause : error;
      }
      // The registry ended the stream without an error: it is restarting.
      await clock.sleep(200, signal).catch(() => undefined);
    }
  }
}

function silent(registry: string, error: FreshetError): ConditionText {
  return {
    code: 'UNAVAILABLE',
    message: `the registry gives no answer (${error.message}): this node goes on with what it knows, and hears of no change of definitions or nodes`,
    remedy: 'start the registry; this node finds it again by itself',
    place: registry,
  };
}

function reported(report: ReturnType<ReadReports['next']> | undefined): {
  reads?: MessageInitShape<typeof ServiceReadsSchema>[];
  readsNumber?: bigint;
} {
  return report === undefined ? {} : { reads: [...report.reads], readsNumber: report.number };
}

/** What a callback threw: whatever goes wrong at the registry is worth another try, what goes wrong here is not. */
class OurFault extends Error {
  override readonly name = 'OurFault';
}

async function ours(callback: () => void | Promise<void>): Promise<void> {
  try {
    await callback();
  } catch (cause) {
    throw new OurFault('a callback failed', { cause });
  }
}
