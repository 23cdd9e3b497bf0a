/** Turns a function into a handler of grpc-js: errors become a status, a cancelled call fires the signal. */
import type { handleUnaryCall, StatusObject } from '@grpc/grpc-js';
import { Metadata } from '@grpc/grpc-js';
import { HuskError } from '../../base/errors.ts';
import { grpcCode } from '../../base/grpc-codes.ts';
import { maxTextLength } from '../check/text.ts';

/** What huskd is told of a failure. */
export function statusOf(caught: unknown): StatusObject {
  const error = HuskError.from(caught);
  return {
    code: grpcCode(error.kind),
    details: error.message.slice(0, 4 * maxTextLength),
    metadata: new Metadata(),
  };
}

/** A handler that answers with what the promise gives. */
export function unary<Req, Res>(
  work: (request: Req, signal: AbortSignal) => Promise<Res> | Res,
): handleUnaryCall<Req, Res> {
  return (call, callback) => {
    const controller = new AbortController();
    call.on('cancelled', () => controller.abort());
    // Promise.try: a synchronous error is a failed call, too.
    Promise.try(() => work(call.request, controller.signal)).then(
      (response) => callback(null, response),
      (caught: unknown) => callback(statusOf(caught)),
    );
  };
}

/** A whole number of milliseconds that a timer can wait. @throws HuskError `invalid-argument` */
export function timeoutOf(ms: bigint): number {
  if (ms <= 0n || ms > 86_400_000n) throw new HuskError('invalid-argument', `timeout_ms "${ms}": want 1 to 86400000`);
  return Number(ms);
}
