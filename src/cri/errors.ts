/** HuskError kinds as gRPC statuses. The only file of the tree that names gRPC codes. */
import { status } from '@grpc/grpc-js';
import { describeError, type ErrorKind, HuskError } from '../base/errors.ts';

/** A gRPC status as grpc-js takes it from a handler. */
export interface GrpcFailure {
  readonly code: number;
  readonly details: string;
}

const codes: Readonly<Record<ErrorKind, number>> = {
  'invalid-argument': status.INVALID_ARGUMENT,
  'not-found': status.NOT_FOUND,
  'already-exists': status.ALREADY_EXISTS,
  'failed-precondition': status.FAILED_PRECONDITION,
  'resource-exhausted': status.RESOURCE_EXHAUSTED,
  'permission-denied': status.PERMISSION_DENIED,
  unavailable: status.UNAVAILABLE,
  unimplemented: status.UNIMPLEMENTED,
  'deadline-exceeded': status.DEADLINE_EXCEEDED,
  cancelled: status.CANCELLED,
  'data-loss': status.DATA_LOSS,
  unknown: status.UNKNOWN,
  internal: status.INTERNAL,
};

/** The text travels in an HTTP/2 header, where clients accept some kilobytes. */
const detailsMaxChars = 4096;

/** The code of a kind. */
export function grpcCode(kind: ErrorKind): number {
  return codes[kind];
}

/** The name of a code, for the log. */
export function grpcCodeName(code: number): string {
  return status[code] ?? String(code);
}

/** Anything caught, as a status for the client: one line, bounded. */
export function toGrpcFailure(caught: unknown): GrpcFailure {
  const error = HuskError.from(caught);
  const text = describeError(error).replaceAll(/[\r\n]+/g, ' | ');
  const details = text.length > detailsMaxChars ? `${text.slice(0, detailsMaxChars)}...` : text;
  return { code: grpcCode(error.kind), details };
}
