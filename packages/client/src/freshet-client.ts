/**
 * The TypeScript client: features by name, typed values, from any of several serve nodes.
 *
 * Owns: taking turns among nodes and trying the next one when a node cannot be reached; turning columns into values.
 * Does not own: what is answered (proto/freshet/serve/v1/serve.proto).
 *
 *     const client = createFreshetClient({ addresses: ['127.0.0.1:7403'] });
 *     const { columns } = await client.getFeatures({ service: 'recommendations', keys: { user_id: [42n, 43n] } });
 *     columns['user_clicks:click_count_5min']?.values   // [3n, 0n]
 */
import {
  type ListServicesResponse,
  type RowInfo,
  ServeService,
  type ServiceDescription,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { type Clock, systemClock } from '@freshet/kit/clock.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { type FeatureColumnValues, readColumn } from './columns.ts';
import { type KeyColumns, keysToProto } from './keys.ts';
import { type RequestFields, requestToProto } from './request-data.ts';

export interface FreshetClientOptions {
  /** Serve nodes, "host:port" each. */
  readonly addresses: readonly string[];
  /**
   * What the program calls itself, for who looks at what reads a service (`freshet lineage`): up to 63 of letters, digits and
   * `._:/@-`, the same for all its processes. Left out: it is counted among those that do not say.
   */
  readonly name?: string | undefined;
  /** How long a call may take over all its tries, milliseconds; 1,000 unless told. */
  readonly deadlineMs?: number | undefined;
  /** By which deadlines are kept; the system's unless told. */
  readonly clock?: Clock | undefined;
}

export interface GetFeaturesOptions {
  /** The feature service; or `features`. */
  readonly service?: string | undefined;
  /** "view:feature", or "view:*"; or `service`. */
  readonly features?: readonly string[] | undefined;
  /** By key column, one value per entity. */
  readonly keys: KeyColumns;
  /** The request data that the service declares: `{ cart_total: 12.5, country: { each: ['DE', null] } }`. */
  readonly request?: RequestFields | undefined;
  /** Also return each row's version and newest event time. */
  readonly rowInfo?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** How long this call may take over all its tries, milliseconds. */
  readonly deadlineMs?: number | undefined;
}

/** The versions and newest event times of the rows of one view, by entity. */
export interface ViewRows {
  /** Undefined for an entity without a row. */
  readonly versions: readonly (number | undefined)[];
  /** Microseconds since the Unix epoch; undefined when there is none. */
  readonly eventTimesUs: readonly (number | undefined)[];
}

export interface Features {
  /** By the output's name, in the order of the service or of the request. */
  readonly columns: Readonly<Record<string, FeatureColumnValues>>;
  /** The one time of all values, microseconds since the Unix epoch. */
  readonly asOfUs: number;
  /** The log time through which the node has everything, microseconds; the values' freshness is the present less this. */
  readonly completeThroughUs: number;
  /** By view; empty unless rowInfo was asked for. */
  readonly rows: Readonly<Record<string, ViewRows>>;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,62}$/;
const DEADLINE_MS = 1000;
// A node that could not be reached, or did not answer in time, is passed over for so long, unless all are.
const AVOID_MS = 1000;

interface ServeNode {
  readonly client: GrpcClient<typeof ServeService>;
  avoidUntilMs: number;
}

export class FreshetClient {
  readonly #nodes: readonly ServeNode[];
  readonly #deadlineMs: number;
  readonly #clock: Clock;
  #turn = 0;

  constructor({ addresses, name, deadlineMs, clock }: FreshetClientOptions) {
    if (addresses.length === 0) {
      throw new FreshetError('INVALID_CONFIG', 'a client needs the address of at least one serve node', {
        place: 'addresses',
        remedy: 'give addresses: ["host:port"]',
      });
    }
    if (name !== undefined && !NAME.test(name)) {
      throw new FreshetError('INVALID_CONFIG', `"${name}" is no name of a program`, {
        place: 'name',
        remedy: 'take up to 63 of letters, digits and ._:/@-, beginning with a letter or digit: "checkout-model"',
      });
    }
    const headers = name === undefined ? {} : { 'freshet-reader': name };
    this.#nodes = addresses.map((address) => ({
      client: createGrpcClient(ServeService, address, { headers }),
      avoidUntilMs: 0,
    }));
    this.#deadlineMs = deadlineMs ?? DEADLINE_MS;
    this.#clock = clock ?? systemClock;
  }

  /**
   * Reads features of many entities at one time. Throws a FreshetError as the node told it: UNKNOWN_SERVICE,
   * UNKNOWN_FEATURE, WRONG_KEY, WRONG_REQUEST_DATA, REQUEST_TOO_LARGE; or UNAVAILABLE, DEADLINE_EXCEEDED when no node answered in time.
   */
  async getFeatures(options: GetFeaturesOptions): Promise<Features> {
    const request = {
      service: options.service ?? '',
      features: [...(options.features ?? [])],
      keys: keysToProto(options.keys),
      request: requestToProto(options.request ?? {}),
      rowInfo: options.rowInfo ?? false,
    };
    const response = await this.#call(options, (client, call) => client.getFeatures(request, call));
    const columns: Record<string, FeatureColumnValues> = {};
    for (const { name, values } of response.columns) columns[name] = readColumn(values);
    return {
      columns,
      asOfUs: Number(response.asOfUs),
      completeThroughUs: Number(response.completeThroughUs),
      rows: Object.fromEntries(response.rows.map((info) => [info.view, viewRows(info)])),
    };
  }

  /** The services that a node serves, with their key columns and the types of their outputs. */
  async listServices(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<ServiceDescription[]> {
    const { services }: ListServicesResponse = await this.#call(options, (client, call) =>
      client.listServices({}, call),
    );
    return services;
  }

  close(): void {
    for (const { client } of this.#nodes) client.close();
  }

  /** Calls nodes in turn until one answers; only one that cannot be reached or is not ready leads to the next. */
  async #call<T>(
    { signal, deadlineMs }: Pick<GetFeaturesOptions, 'signal' | 'deadlineMs'>,
    call: (
      client: GrpcClient<typeof ServeService>,
      options: { signal: AbortSignal | undefined; deadlineMs: number },
    ) => Promise<T>,
  ): Promise<T> {
    const endMs = this.#nowMs() + (deadlineMs ?? this.#deadlineMs);
    let failure: unknown;
    for (const node of this.#candidates()) {
      const leftMs = endMs - this.#nowMs();
      if (leftMs <= 0) break;
      try {
        const answer = await call(node.client, { signal, deadlineMs: leftMs });
        node.avoidUntilMs = 0;
        return answer;
      } catch (error) {
        if (!isFreshetError(error, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw error;
        // One that is late may hang, or be where nothing comes back from: that call is over, the next goes elsewhere.
        node.avoidUntilMs = this.#nowMs() + AVOID_MS;
        if (error.code === 'DEADLINE_EXCEEDED') throw error;
        failure = error;
      }
    }
    throw failure ?? new FreshetError('DEADLINE_EXCEEDED', 'the deadline passed before a node could be asked');
  }

  #nowMs(): number {
    return this.#clock.monotonicUs() / 1000;
  }

  /** The nodes, beginning with the next in turn, those that could not be reached just now last. */
  #candidates(): readonly ServeNode[] {
    const nowMs = this.#nowMs();
    const first = this.#turn++ % this.#nodes.length;
    const inTurn = [...this.#nodes.slice(first), ...this.#nodes.slice(0, first)];
    return [
      ...inTurn.filter((node) => node.avoidUntilMs <= nowMs),
      ...inTurn.filter((node) => node.avoidUntilMs > nowMs),
    ];
  }
}

export function createFreshetClient(options: FreshetClientOptions): FreshetClient {
  return new FreshetClient(options);
}

function viewRows({ versionsPlusOne, eventTimesUs }: RowInfo): ViewRows {
  return {
    versions: versionsPlusOne.map((version) => (version === 0n ? undefined : Number(version) - 1)),
    eventTimesUs: eventTimesUs.map((time) => (time === 0n ? undefined : Number(time))),
  };
}
