/** The one table of error kinds and gRPC status codes, for CRI and for the internal links. Pure. */
import type { ErrorKind } from './errors.ts';

/** Numbers of google.rpc.Code (googleapis, google/rpc/code.proto), which gRPC's status codes are. */
const codes: Readonly<Record<ErrorKind, number>> = {
  cancelled: 1,
  unknown: 2,
  'invalid-argument': 3,
  'deadline-exceeded': 4,
  'not-found': 5,
  'already-exists': 6,
  'permission-denied': 7,
  'resource-exhausted': 8,
  'failed-precondition': 9,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  'data-loss': 15,
};
/** ABORTED (10): nobody here sends it; a library does when a call may be tried again. */
const aborted = 10;

/** The code of a kind. */
export function grpcCode(kind: ErrorKind): number {
  return codes[kind];
}

/** The kind that a code stands for; `unknown` for codes that nobody here sends. */
export function kindOfGrpcCode(code: number): ErrorKind {
  for (const [kind, known] of Object.entries(codes)) {
    if (known === code) return kind as ErrorKind;
  }
  return code === aborted ? 'unavailable' : 'unknown';
}
