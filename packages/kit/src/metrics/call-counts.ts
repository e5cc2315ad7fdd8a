/**
 * How often each method was called, by what became of it. Owns the counts; the hosts of the gRPC and the HTTP port add to
 * them. Bounded: the methods that are hosted, times the codes of the error catalogue.
 */
import type { DescMethod } from '@bufbuild/protobuf';
import type { ErrorCode } from '../error-codes.ts';
import { counter, type MetricFamily } from './exposition.ts';

/** The calls of a method. A stream counts when it ends. */
export class MethodCalls {
  readonly service: string;
  readonly method: string;
  /** Those that were answered; a field by itself, because it is added to by every read. */
  ok = 0;
  readonly failed = new Map<ErrorCode, number>();

  constructor(service: string, method: string) {
    this.service = service;
    this.method = method;
  }

  fail(code: ErrorCode): void {
    this.failed.set(code, (this.failed.get(code) ?? 0) + 1);
  }
}

export class CallCounts {
  readonly #byMethod = new Map<string, MethodCalls>();

  /** Those of a method, to be added to. */
  of(method: DescMethod): MethodCalls {
    const service = method.parent.typeName;
    const name = `${service}/${method.name}`;
    const calls = this.#byMethod.get(name) ?? new MethodCalls(service, method.name);
    this.#byMethod.set(name, calls);
    return calls;
  }

  metrics(): MetricFamily {
    const samples = [...this.#byMethod.values()].flatMap(({ service, method, ok, failed }) =>
      [['OK', ok] as const, ...failed].map(([code, value]) => ({ labels: { service, method, code }, value })),
    );
    const help =
      'Calls that ended, over gRPC and HTTP, by method and code: OK, or what docs/errors.md lists; a stream counts when it ends';
    return counter('freshet_calls_total', help, samples);
  }
}
