/** What every server-streaming RPC has in common; see instrument.ts. */
import { once } from 'node:events';
import { Metadata, type ServerWritableStream, type UntypedHandleCall } from '@grpc/grpc-js';
import type { Decoded } from './decode.ts';
import { grpcCodeName, toGrpcFailure } from './errors.ts';
import { callScope, type Instruments, quiet } from './instrument.ts';

/** One RPC that answers with messages. It must end soon after the signal fires. */
export type StreamHandler<Request, Response> = (request: Request, signal: AbortSignal) => AsyncIterable<Response>;

/** Makes a gRPC handler of an RPC's own. A slow reader is waited for: one message at a time is under way. */
export function instrumentStream<Request, Response>(
  rpc: string,
  handler: StreamHandler<Request, Response>,
  { log, clock, closing }: Instruments,
): UntypedHandleCall {
  type Call = ServerWritableStream<Decoded<Request>, Response>;
  const send = async (call: Call, signal: AbortSignal): Promise<number> => {
    if ('error' in call.request) throw call.request.error;
    let messages = 0;
    for await (const message of handler(call.request.request, signal)) {
      messages += 1;
      if (!call.write(message)) await once(call, 'drain', { signal });
    }
    return messages;
  };
  const handle = async (call: Call): Promise<void> => {
    const started = clock.monotonicMs();
    const scope = callScope(rpc, call, closing);
    const level = quiet.test(rpc) ? 'debug' : 'info';
    log[level]({ rpc }, 'call');
    try {
      // At once: a client of events waits for it to know that it misses none from here on.
      call.sendMetadata(new Metadata());
      const messages = await send(call, scope.signal);
      log[level]({ rpc, messages, ms: Math.round(clock.monotonicMs() - started) }, 'done');
      call.end();
    } catch (caught) {
      const failure = toGrpcFailure(caught);
      // A client that leaves a stream of events is how such streams end.
      const leave = scope.signal.aborted ? 'info' : 'warn';
      log[leave]({ rpc, code: grpcCodeName(failure.code), err: caught }, failure.details);
      call.emit('error', failure);
    } finally {
      scope.end();
    }
  };
  return (call: Call): void => {
    void handle(call);
  };
}
