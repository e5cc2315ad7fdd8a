/**
 * The one check of requests, for the gRPC port and the HTTP port alike: what the contract's protovalidate rules say.
 * Hot paths that take raw bytes check their limits by hand instead.
 */
import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { createValidator } from '@bufbuild/protovalidate';
import { must } from '../assert.ts';
import { FreshetError } from '../errors.ts';

// It compiles a message's rules at first use and keeps them.
const validator = createValidator();

/** Throws INVALID_REQUEST with every rule that the request breaks, and the first one's field as its place. */
export function validateRequest<T extends DescMessage>(schema: T, request: MessageShape<T>): void {
  const result = validator.validate(schema, request);
  if (result.kind === 'valid') return;
  if (result.kind === 'error') throw result.error;
  const names = must(result.violations[0]).field.map((part) => ('name' in part ? part.name : ''));
  throw new FreshetError('INVALID_REQUEST', result.violations.map(String).join('; '), {
    place: names.filter(Boolean).join('.'),
  });
}
