/**
 * GET /metrics on a service's HTTP port. Owns the request and its answer; what is told is its caller's. Needs no
 * credentials, and tells nothing of rows.
 *
 * R4: what is told is gathered once at a time, whoever asks meanwhile gets the same.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createHttpHost } from '../http/host.ts';
import type { ServiceContext } from '../lifecycle.ts';
import type { CallCounts } from './call-counts.ts';
import { EXPOSITION_TYPE, expositionOf, type MetricFamily } from './exposition.ts';
import { watchProcess } from './process-metrics.ts';

export interface MetricsSource {
  /** What the service tells of itself. */
  readonly own: () => Promise<readonly MetricFamily[]>;
  /** The calls of its ports. */
  readonly calls: CallCounts;
}

const PATH = /^\/metrics(?:\?|$)/;

/** Answers the path with what the source and the process tell; false when the request is for another. */
export function metricsPath(
  { own, calls }: MetricsSource,
  { signal, log }: Pick<ServiceContext, 'signal' | 'log'>,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  const ofProcess = watchProcess(signal);
  const gather = async (): Promise<MetricFamily[]> => [...(await own()), calls.metrics(), ...ofProcess()];
  let gathering: Promise<string> | undefined;
  const text = (): Promise<string> => {
    gathering ??= gather()
      .then(expositionOf)
      .finally(() => {
        gathering = undefined;
      });
    return gathering;
  };
  return (request, response) => {
    if (!PATH.test(request.url ?? '/')) return false;
    // Nothing of a body is wanted, but its sender must be able to finish.
    request.resume();
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
      return true;
    }
    text().then(
      (all) => {
        response.writeHead(200, { 'content-type': EXPOSITION_TYPE, 'content-length': Buffer.byteLength(all) });
        response.end(request.method === 'HEAD' ? undefined : all);
      },
      (error: unknown) => {
        log.error('the metrics could not be gathered', { error });
        response.writeHead(500).end();
      },
    );
    return true;
  };
}

/** Listens where nothing but /metrics is answered, until the process stops; says where. Throws INVALID_CONFIG. */
export async function listenForMetrics(
  address: string,
  source: MetricsSource,
  context: ServiceContext,
): Promise<string> {
  const http = createHttpHost({ log: context.log, routes: () => undefined, extra: metricsPath(source, context) });
  const bound = await http.listen(address);
  context.onStop('the HTTP port', () => http.close());
  return bound.address;
}
