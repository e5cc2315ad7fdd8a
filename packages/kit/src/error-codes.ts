/**
 * The catalogue of operating errors: one entry per decision that a caller makes, not per cause. Codes are stable;
 * docs/errors.md is generated from here. The gRPC status follows from the code, never from the place that throws.
 */

/** gRPC status codes by name (https://grpc.io/docs/guides/status-codes). */
export const GrpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

export type GrpcStatusName = keyof typeof GrpcStatus;

interface ErrorCodeInfo {
  readonly grpc: GrpcStatusName;
  readonly retryable: boolean;
  /** What the code means to a caller, for docs/errors.md. */
  readonly about: string;
}

export const ERROR_CODES = {
  // Requests
  INVALID_REQUEST: { grpc: 'INVALID_ARGUMENT', retryable: false, about: 'The request breaks a rule of its message.' },
  REQUEST_TOO_LARGE: { grpc: 'RESOURCE_EXHAUSTED', retryable: false, about: 'The request is over a documented limit.' },
  UNKNOWN_SERVICE: { grpc: 'NOT_FOUND', retryable: false, about: 'No feature service has that name.' },
  UNKNOWN_FEATURE: { grpc: 'NOT_FOUND', retryable: false, about: 'No feature has that name.' },
  WRONG_KEY: {
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    about: 'A key column is missing, unknown, or of another type.',
  },
  WRONG_REQUEST_DATA: {
    grpc: 'INVALID_ARGUMENT',
    retryable: false,
    about: 'A field of the request data is missing, unknown, of another type, or has another number of values.',
  },
  // Definitions
  INVALID_DEFINITION: { grpc: 'INVALID_ARGUMENT', retryable: false, about: 'The definitions cannot work as written.' },
  PLAN_OUTDATED: { grpc: 'ABORTED', retryable: false, about: 'Something changed since the plan: plan again.' },
  // Sources
  SOURCE_NOT_READY: {
    grpc: 'FAILED_PRECONDITION',
    retryable: false,
    about: 'The database is not set up for capture; the remedy has the SQL.',
  },
  SOURCE_UNREACHABLE: { grpc: 'UNAVAILABLE', retryable: true, about: 'The database does not answer.' },
  SLOT_LOST: {
    grpc: 'FAILED_PRECONDITION',
    retryable: false,
    about: 'The replication slot is gone or was invalidated; changes since may be lost to it.',
  },
  CONTRACT_BROKEN: {
    grpc: 'FAILED_PRECONDITION',
    retryable: false,
    about: 'A source no longer has the shape that its contract promises; it waits for new definitions.',
  },
  CONTRACT_NOT_ACCEPTED: {
    grpc: 'FAILED_PRECONDITION',
    retryable: false,
    about: 'The definitions would accept a change of a table that hurts who reads it, and nobody said that it may.',
  },
  // Log and state
  WRONG_LOG: { grpc: 'FAILED_PRECONDITION', retryable: false, about: 'The position belongs to another log.' },
  OFFSET_OUT_OF_RANGE: { grpc: 'OUT_OF_RANGE', retryable: false, about: 'The log does not hold that offset.' },
  DATA_DAMAGED: { grpc: 'DATA_LOSS', retryable: false, about: 'Stored bytes are not what was written.' },
  LOG_HALTED: {
    grpc: 'FAILED_PRECONDITION',
    retryable: false,
    about: 'A write to the log failed; it takes no more until its process has started again.',
  },
  CLOCK_JUMP: {
    grpc: 'FAILED_PRECONDITION',
    retryable: false,
    about: 'The clock moved in a way that would falsify log time.',
  },
  // The machine
  DISK_FULL: {
    grpc: 'RESOURCE_EXHAUSTED',
    retryable: true,
    about: 'The disk has no room, or less than is kept free; work goes on by itself once there is.',
  },
  DISK_READ_ONLY: {
    grpc: 'FAILED_PRECONDITION',
    retryable: true,
    about: 'The file system takes no writes; work goes on once it does.',
  },
  DISK_FAILED: { grpc: 'FAILED_PRECONDITION', retryable: true, about: 'The disk reports an error of its own.' },
  TOO_MANY_OPEN_FILES: {
    grpc: 'RESOURCE_EXHAUSTED',
    retryable: true,
    about: 'The process or the machine has no file descriptor left; work goes on by itself once there is one.',
  },
  LIMIT_EXCEEDED: {
    grpc: 'RESOURCE_EXHAUSTED',
    retryable: false,
    about: 'Something that is bounded is at its bound; the message says which and how much.',
  },
  // Processes
  INVALID_CONFIG: {
    grpc: 'FAILED_PRECONDITION',
    retryable: false,
    about: 'The configuration cannot work; the process does not start.',
  },
  STORE_LOCKED: { grpc: 'FAILED_PRECONDITION', retryable: true, about: 'Another process has the data directory open.' },
  UNAVAILABLE: { grpc: 'UNAVAILABLE', retryable: true, about: 'The peer cannot be reached or is not ready yet.' },
  CANCELLED: { grpc: 'CANCELLED', retryable: false, about: 'The caller gave up.' },
  DEADLINE_EXCEEDED: { grpc: 'DEADLINE_EXCEEDED', retryable: true, about: 'The deadline passed first.' },
  UNIMPLEMENTED: { grpc: 'UNIMPLEMENTED', retryable: false, about: 'This node does not offer the method.' },
  INTERNAL: { grpc: 'INTERNAL', retryable: false, about: 'A fault of ours; the log of the process has the cause.' },
} as const satisfies Record<string, ErrorCodeInfo>;

export type ErrorCode = keyof typeof ERROR_CODES;
