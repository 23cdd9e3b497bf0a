/** HuskError kinds as gRPC statuses of CRI. */
import { status } from '@grpc/grpc-js';
import { describeError, HuskError } from '../base/errors.ts';
import { grpcCode } from '../base/grpc-codes.ts';

/** A gRPC status as grpc-js takes it from a handler. */
export interface GrpcFailure {
  readonly code: number;
  readonly details: string;
}

/** The text travels in an HTTP/2 header, where clients accept some kilobytes. */
const detailsMaxChars = 4096;

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
