/**
 * What every RPC has in common, in one place: the decoded request, the client's cancellation as
 * an AbortSignal, one line of log on entry and one on exit with the duration, errors as statuses.
 */
import type { ServerUnaryCall, sendUnaryData, UntypedHandleCall } from '@grpc/grpc-js';
import type { Clock } from '../base/clock.ts';
import { HuskError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type Trace, traced } from '../base/trace.ts';
import type { CallObserver } from '../metrics/call.ts';
import type { Decoded } from './decode.ts';
import type { Encoded } from './encoded.ts';
import { grpcCodeName, toGrpcFailure } from './errors.ts';
import { remoteParent } from './traceparent.ts';

/** One RPC: validates, makes one call to the domain, maps the result. */
export type Handler<Request, Response> = (
  request: Request,
  signal: AbortSignal,
) => Response | Encoded<Response> | Promise<Response>;

export interface Instruments {
  readonly log: Log;
  readonly clock: Clock;
  /** Fires when the server closes for good: what is then under way ends. */
  readonly closing: AbortSignal;
  readonly observers: readonly CallObserver[];
  /** The pod that a request or an answer is about; empty: none that is known. */
  readonly podOf: (message: unknown) => string;
}

/** RPCs that a kubelet polls or asks each second, and that change nothing: their log is for debugging. */
export const quiet =
  /^(Version|Status|RuntimeConfig|List|Stream|PodSandboxSta|ContainerSta|ImageStatus|ImageFsInfo|ExecSync)/;

/** Makes a gRPC handler of an RPC's own. */
export function instrument<Request, Response>(
  rpc: string,
  handler: Handler<Request, Response>,
  instruments: Instruments,
): UntypedHandleCall {
  type Answer = Response | Encoded<Response>;
  const run = async (call: ServerUnaryCall<Decoded<Request>, Answer>, signal: AbortSignal): Promise<Answer> => {
    if ('error' in call.request) throw call.request.error;
    return await handler(call.request.request, signal);
  };
  const handle = async (
    call: ServerUnaryCall<Decoded<Request>, Answer>,
    callback: sendUnaryData<Answer>,
  ): Promise<void> => {
    const started = instruments.clock.monotonicMs();
    const scope = callScope(rpc, call, instruments.closing);
    const elapsedMs = (): number => Math.round((instruments.clock.monotonicMs() - started) * 10) / 10;
    const level = quiet.test(rpc) ? 'debug' : 'info';
    instruments.log[level]({ rpc }, 'call');
    let trace: Trace | undefined;
    let code = 'OK';
    // Before the call: afterwards the container may be gone.
    let podId = podOf(call, instruments);
    try {
      const keep = (ended: Trace): void => void (trace = ended);
      const response = await traced(rpc, remoteParent(call.metadata), keep, () => run(call, scope.signal));
      instruments.log[level]({ rpc, ms: elapsedMs() }, 'done');
      podId ||= instruments.podOf(response);
      callback(null, response);
    } catch (caught) {
      const failure = toGrpcFailure(caught);
      code = grpcCodeName(failure.code);
      instruments.log.warn({ rpc, ms: elapsedMs(), code, err: caught }, failure.details);
      callback(failure);
    } finally {
      scope.end();
      if (trace !== undefined) {
        for (const observe of instruments.observers) observe({ rpc, code, ms: elapsedMs(), podId, trace });
      }
    }
  };
  return (call: ServerUnaryCall<Decoded<Request>, Answer>, callback: sendUnaryData<Answer>): void => {
    void handle(call, callback);
  };
}

function podOf<Request>(call: ServerUnaryCall<Decoded<Request>, unknown>, instruments: Instruments): string {
  return 'error' in call.request ? '' : instruments.podOf(call.request.request);
}

/** The signal of one call: fires when the client leaves, when its deadline passes, when the server closes. */
export function callScope(
  rpc: string,
  call: Pick<ServerUnaryCall<unknown, unknown>, 'cancelled' | 'once' | 'removeListener'>,
  closing: AbortSignal,
): { readonly signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const stop = (why: string): void => controller.abort(new HuskError('cancelled', `${rpc}: ${why}`));
  const onCancelled = (): void => stop('the client cancelled the call, or its deadline has passed');
  const onClosing = (): void => stop('the server is closing');
  call.once('cancelled', onCancelled);
  closing.addEventListener('abort', onClosing, { once: true });
  if (call.cancelled) onCancelled();
  if (closing.aborted) onClosing();
  return {
    signal: controller.signal,
    end(): void {
      call.removeListener('cancelled', onCancelled);
      closing.removeEventListener('abort', onClosing);
    },
  };
}
