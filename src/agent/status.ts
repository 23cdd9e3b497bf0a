/** Error kinds on the internal gRPC links: the agent's, and the gateway's towards huskd. */
import { status } from '@grpc/grpc-js';
import type { ErrorKind } from '../base/errors.ts';

const codes: Readonly<Record<ErrorKind, status>> = {
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

/** The gRPC code that stands for the kind. */
export function statusOfKind(kind: ErrorKind): status {
  return codes[kind];
}

/** The kind that a gRPC code stands for; `unknown` for codes that nobody here sends. */
export function kindOfStatus(code: number): ErrorKind {
  for (const [kind, known] of Object.entries(codes)) {
    if (known === code) return kind as ErrorKind;
  }
  return code === status.ABORTED ? 'unavailable' : 'unknown';
}
