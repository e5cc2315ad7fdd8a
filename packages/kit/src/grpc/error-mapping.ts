/**
 * The one door between errors in the process and errors on the wire, both ways. A cause is logged by the server and
 * never sent. Detail travels as an encoded freshet.type.v1.ErrorDetail in the trailer "freshet-error-bin".
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type ErrorDetail, ErrorDetailSchema } from '@freshet/gen/freshet/type/v1/error_pb.ts';
import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { ERROR_CODES, type ErrorCode, GrpcStatus } from '../error-codes.ts';
import { FreshetError, isAbort } from '../errors.ts';

export const ERROR_TRAILER = 'freshet-error-bin';
const ALSO_MAX = 100;
// Trailers share HTTP/2's header limit with everything else; text beyond this is cut.
const TEXT_MAX = 2000;

/** Any thrown value as an operating error; what is not one becomes INTERNAL and keeps the value as its cause. */
export function toFreshetError(thrown: unknown): FreshetError {
  if (thrown instanceof FreshetError) return thrown;
  if (isAbort(thrown)) return new FreshetError('CANCELLED', 'the call was cancelled', { cause: thrown });
  return new FreshetError('INTERNAL', 'an internal fault; the log of the process has the cause', { cause: thrown });
}

export function toErrorDetail(error: FreshetError): ErrorDetail {
  return create(ErrorDetailSchema, {
    code: error.code,
    message: cut(error.message),
    remedy: cut(error.remedy),
    place: cut(error.place),
    retryable: error.retryable,
    also: error.also.slice(0, ALSO_MAX).map(toErrorDetail),
  });
}

/**
 * The beginning of a text, never with half a character: what a caller sent is in it, and grpc-js throws where nobody
 * catches, which ends the process, when it is to send one.
 */
function cut(text: string): string {
  return text.slice(0, TEXT_MAX).toWellFormed();
}

export function fromErrorDetail(detail: ErrorDetail, cause?: unknown): FreshetError {
  const code: ErrorCode = detail.code in ERROR_CODES ? (detail.code as ErrorCode) : 'INTERNAL';
  return new FreshetError(code, detail.message, {
    remedy: detail.remedy,
    place: detail.place,
    also: detail.also.map((d) => fromErrorDetail(d)),
    ...(cause === undefined ? {} : { cause }),
  });
}

/** What grpc-js sends for an error. Of further errors the last half is left out until the trailer is small enough. */
export function toGrpcError(error: FreshetError): { code: number; details: string; metadata: Metadata } {
  const detail = toErrorDetail(error);
  let bytes = toBinary(ErrorDetailSchema, detail);
  while (bytes.length > 6000 && detail.also.length > 0) {
    detail.also.length = Math.floor(detail.also.length / 2);
    bytes = toBinary(ErrorDetailSchema, detail);
  }
  const metadata = new Metadata();
  metadata.set(ERROR_TRAILER, Buffer.from(bytes));
  return { code: GrpcStatus[ERROR_CODES[error.code].grpc], details: detail.message, metadata };
}

const FALLBACK_CODES: Readonly<Record<number, ErrorCode>> = {
  [GrpcStatus.CANCELLED]: 'CANCELLED',
  [GrpcStatus.INVALID_ARGUMENT]: 'INVALID_REQUEST',
  [GrpcStatus.DEADLINE_EXCEEDED]: 'DEADLINE_EXCEEDED',
  [GrpcStatus.RESOURCE_EXHAUSTED]: 'REQUEST_TOO_LARGE',
  [GrpcStatus.UNIMPLEMENTED]: 'UNIMPLEMENTED',
  [GrpcStatus.UNAVAILABLE]: 'UNAVAILABLE',
  // Our servers never send these without a trailer: they are the transport's, as when a connection ends in a call.
  [GrpcStatus.INTERNAL]: 'UNAVAILABLE',
  [GrpcStatus.UNKNOWN]: 'UNAVAILABLE',
};

/** The error that a call of grpc-js ended with, as the server threw it. */
export function fromGrpcError(error: ServiceError, what: string): FreshetError {
  const raw = error.metadata?.get(ERROR_TRAILER)[0];
  if (raw !== undefined && typeof raw !== 'string') {
    try {
      return fromErrorDetail(fromBinary(ErrorDetailSchema, raw), error);
    } catch {
      // The trailer is not ours after all: the status alone has to do, below.
    }
  }
  const code = FALLBACK_CODES[error.code] ?? 'INTERNAL';
  return new FreshetError(code, `${what}: ${error.details || error.message}`, { cause: error });
}
