/**
 * Tells the registry of the shapes that the stream showed, so that a contract's history says since which commit it holds.
 *
 * Owns what was told last of each source, and the tries: a shape that a source comes back to is told again, as the registry
 * journals returns. Nothing depends on it: with the registry down what waits is told later, and what is more than can wait is
 * dropped, as the next start tells it again.
 * Limit: `WAITING_MAX` shapes that wait and `TOLD_MAX` sources that were told of; policy: the newest is dropped; all told are
 * forgotten.
 */
import { toBinary } from '@bufbuild/protobuf';
import { ContractService, ContractVerdict } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { type Contract, ContractSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import type { Logger } from '@freshet/kit/logger.ts';

const WAITING_MAX = 256;
const TOLD_MAX = 4_096;
const REPORT_MS = 3_000;
/** Between two looks at what waits, and two tries. */
const LOOK_MS = 1_000;
const RETRY_MS_MAX = 30_000;

export interface ContractReporterOptions {
  /** host:port. */
  readonly registry: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Waiting {
  readonly contract: Contract;
  readonly lsn: bigint;
}

export class ContractReporter {
  readonly #options: ContractReporterOptions;
  readonly #waiting: Waiting[] = [];
  /** By source, the shape that it was told to have last. */
  readonly #told = new Map<string, string>();

  constructor(options: ContractReporterOptions) {
    this.#options = options;
  }

  /** Shapes that wait to be told. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Takes a shape that rows came in from a commit on; the one that was taken last is passed over. */
  note(contract: Contract, lsn: bigint): void {
    const shape = Buffer.from(toBinary(ContractSchema, contract)).toString('base64');
    if (this.#told.get(contract.source) === shape || this.#waiting.length >= WAITING_MAX) return;
    if (this.#told.size >= TOLD_MAX) this.#told.clear();
    this.#told.set(contract.source, shape);
    this.#waiting.push({ contract, lsn });
  }

  /** Tells what waits until the signal. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { registry, clock, logger } = this.#options;
    const client = createGrpcClient(ContractService, registry);
    let pauseMs = LOOK_MS;
    while (!signal.aborted) {
      const [first] = this.#waiting;
      if (first !== undefined) {
        const { source } = first.contract;
        try {
          const { version, returned, judgement } = await client.reportContract(first, {
            signal,
            deadlineMs: REPORT_MS,
          });
          logger.debug('the registry knows the shape of a source', { source, lsn: first.lsn, version });
          const isBreaking = judgement?.verdict === ContractVerdict.BREAKING;
          if (returned)
            logger.warn('a table is back at an earlier shape', { source, lsn: first.lsn, version, isBreaking });
          else if (version === 0)
            logger.warn('a table has a shape that nobody accepted', { source, lsn: first.lsn, isBreaking });
          this.#waiting.shift();
          pauseMs = LOOK_MS;
          continue;
        } catch (error) {
          if (signal.aborted) break;
          if (isFreshetError(error, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) pauseMs = Math.min(2 * pauseMs, RETRY_MS_MAX);
          else {
            // It will not take it at another try either: it may have other definitions by now.
            logger.warn('the registry did not take the shape of a source', { source, error });
            this.#waiting.shift();
          }
        }
      }
      await clock.sleep(pauseMs, signal).catch(() => undefined);
    }
    client.close();
  }
}
