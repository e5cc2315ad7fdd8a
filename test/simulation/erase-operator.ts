/**
 * Somebody who has the mesh forget an entity, as `freshet erase` does: ingest is asked, then every node that is known now
 * (packages/cli/src/commands/erase-mesh.ts), again and again until the receipt is complete.
 *
 * Owns when he asks, how long he waits for an answer, and whom he knows of: who runs now. A node that is away he leaves out,
 * if the plan says so. What he does may be met by a machine that dies at that very step (strikes). Does not own the steps.
 */
import { clone, create } from '@bufbuild/protobuf';
import { ForgetEntityRequestSchema, ForgetEntityResponseSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { ErasePlaceSchema, type EraseState, EraseStateSchema } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { ConfirmErasedRequestSchema, ConfirmErasedResponseSchema } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import type { Network } from '@freshet/testkit/simulation/network.ts';
import type { Random } from '@freshet/testkit/simulation/random.ts';
import type { SimProcess } from '@freshet/testkit/simulation/sim-process.ts';
import { keyBytes } from '@freshet/values/key.ts';
import { type EraseMesh, type ErasingNode, eraseElsewhere } from '../../packages/cli/src/commands/erase-mesh.ts';
import type { ComputeHandlers } from '../../services/compute/src/rpc/handlers.ts';
import type { SimEdgeService } from './edge-machine.ts';
import type { Erasure } from './erasures.ts';
import type { SimIngestService } from './ingest-machine.ts';
import type { EraseStep } from './plan.ts';

const ASK_MS = 700;
/** What was set aside goes from this try on. */
const SET_ASIDE_FROM = 2;
/** After so many tries of one receipt, where the log may have lost its Erase record, he begins another. */
const TRIES_OF_LOST = 6;

export interface OperatorWorld {
  readonly network: Network;
  /** Compute nodes that run, with the shards that they say they have, and serve nodes that run. */
  readonly nodes: () => readonly ErasingNode[];
  /** Compute nodes that do not run now. */
  readonly away: () => readonly string[];
  /** Whether the log may have lost what it acknowledged. */
  readonly logMayLose: () => boolean;
  /** A step begins. */
  readonly onStep: (erasure: Erasure, step: EraseStep) => void;
  /** Ingest tells the erase as it stands. */
  readonly onState: (erasure: Erasure, state: EraseState) => void;
  /** Begins anew, with a receipt of its own: the rows are deleted once more. */
  readonly onAnew: (erasure: Erasure) => void;
  readonly onFault: (error: unknown) => void;
}

export class EraseOperator {
  readonly #process: SimProcess;
  readonly #random: Random;
  readonly #world: OperatorWorld;

  constructor(process: SimProcess, random: Random, world: OperatorWorld) {
    this.#process = process;
    this.#random = random;
    this.#world = world;
  }

  /** Asks for each that is not complete, one after the other, until the process ends. */
  async run(erasures: readonly Erasure[]): Promise<void> {
    for (;;) {
      await this.#process.sleep(ASK_MS);
      for (const erasure of erasures) if (!erasure.isComplete) await this.#try(erasure);
    }
  }

  async #try(erasure: Erasure): Promise<void> {
    const { logMayLose, onAnew, onState, nodes, away } = this.#world;
    erasure.tries += 1;
    if (logMayLose() && erasure.tries > TRIES_OF_LOST) onAnew(erasure);
    try {
      let state = await this.#atIngest(erasure);
      if (state.completedAtUs === undefined) {
        const without = erasure.plan.leavesOut ? away() : [];
        const setAside = erasure.tries >= SET_ASIDE_FROM;
        const { signal } = new AbortController();
        const mesh = this.#mesh(erasure);
        state = await eraseElsewhere(mesh, state, nodes(), { setAside, without, signal, tell: () => undefined });
      }
      onState(erasure, state);
    } catch (error) {
      // A node is away, rows are being read, a disk is full, it takes too long: there is a next time.
      if (!isFreshetError(error) && !isAbort(error)) this.#world.onFault(error);
    }
  }

  async #atIngest(erasure: Erasure): Promise<EraseState> {
    const { network, onStep, onState } = this.#world;
    const { eraseId, state: known, key } = erasure;
    onStep(erasure, 'begin');
    const about =
      known === undefined ? { entity: 'user', entityKey: keyBytes(key) } : { entity: '', entityKey: new Uint8Array(0) };
    const wish = { eraseId, ...about, setAside: erasure.tries >= SET_ASIDE_FROM };
    const gone = new AbortController();
    this.#process.after(this.#random.pick([1_000, 8_000, 60_000]) * 1000, () =>
      gone.abort(new DOMException('interrupted', 'AbortError')),
    );
    const steps = network.stream(
      this.#process,
      'ingest',
      ({ eraser }: SimIngestService, server) => eraser.erase(wish, server),
      ({ step, erase }) => ({ step, erase: clone(EraseStateSchema, erase) }),
      gone.signal,
    );
    let state: EraseState | undefined;
    for await (const { erase } of steps) {
      state = erase;
      onState(erasure, state);
    }
    if (state !== undefined) return state;
    throw new FreshetError('UNAVAILABLE', 'ingest said nothing about the erase');
  }

  #mesh(erasure: Erasure): EraseMesh {
    const { onStep } = this.#world;
    const timeoutMs = this.#random.pick([500, 3_000, 10_000]);
    return {
      forget: ({ nodeId }, request) => {
        onStep(erasure, 'forget');
        return this.#call(nodeId, timeoutMs, async ({ forgetEntity }: ComputeHandlers, signal) =>
          create(
            ForgetEntityResponseSchema,
            await forgetEntity(create(ForgetEntityRequestSchema, request), { signal, peer: 'operator' }),
          ),
        );
      },
      confirm: ({ nodeId }, request) => {
        onStep(erasure, 'confirm');
        return this.#call(nodeId, timeoutMs, async ({ confirmErased }: SimEdgeService, signal) =>
          create(
            ConfirmErasedResponseSchema,
            await confirmErased(create(ConfirmErasedRequestSchema, request), { signal }),
          ),
        );
      },
      note: ({ eraseId = '', places = [], complete = false }) => {
        onStep(erasure, complete ? 'complete' : 'note');
        const told = places.map((place) => create(ErasePlaceSchema, place));
        return this.#call('ingest', timeoutMs, async ({ eraser }: SimIngestService) =>
          clone(EraseStateSchema, await eraser.note(eraseId, told, complete)),
        );
      },
    };
  }

  /** One call with a deadline, at which both sides give it up. */
  #call<S, T>(address: string, timeoutMs: number, run: (service: S, signal: AbortSignal) => Promise<T>): Promise<T> {
    const deadline = new AbortController();
    return new Promise<T>((resolve, reject) => {
      this.#process.after(timeoutMs * 1000, () => {
        const late = new FreshetError('DEADLINE_EXCEEDED', `${address} did not answer in time`);
        deadline.abort(late);
        reject(late);
      });
      this.#world.network
        .call(
          this.#process,
          address,
          (service: S) => run(service, deadline.signal),
          (answer) => answer,
        )
        .then(resolve, (error: unknown) => {
          if (!isFreshetError(error) && !isAbort(error)) this.#world.onFault(error);
          reject(error as Error);
        });
    });
  }
}
