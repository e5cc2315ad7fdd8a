/** Goal: what ends a call is judged by who ended it. Method: errors as grpc-js gives them, with and without our trailer. */
import { Metadata } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { GrpcStatus } from '../error-codes.ts';
import { FreshetError } from '../errors.ts';
import { fromGrpcError, toGrpcError } from './error-mapping.ts';

function ended(code: number, details: string, metadata = new Metadata()): FreshetError {
  return fromGrpcError(Object.assign(new Error(details), { code, details, metadata }), 'ReadLog');
}

describe('fromGrpcError', () => {
  it('takes a connection that ends in a call for an unreachable peer, whatever the transport calls it', () => {
    // Seen when a server ended an old connection under load.
    const reset = ended(GrpcStatus.INTERNAL, 'Received RST_STREAM with code 0 (Call ended without gRPC status)');
    expect(reset).toMatchObject({ code: 'UNAVAILABLE', retryable: true });
    expect(ended(GrpcStatus.UNKNOWN, 'Unknown Error')).toMatchObject({ code: 'UNAVAILABLE', retryable: true });
  });

  it("keeps a peer's own fault a fault", () => {
    const { code, details, metadata } = toGrpcError(new FreshetError('INTERNAL', 'a fault of ours'));
    expect(ended(code, details, metadata)).toMatchObject({ code: 'INTERNAL', retryable: false });
  });
});
