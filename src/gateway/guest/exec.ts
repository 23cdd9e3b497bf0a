/** ExecSync: one command to its end, its output kept up to a cap. */
import type { ClientReadableStream } from '@grpc/grpc-js';
import { HuskError } from '../../base/errors.ts';
import type { ExecMessage, ExecResult } from '../../gen/agent/v1/agent.ts';
import type { ExecSyncResponse } from '../../gen/gateway/v1/gateway.ts';
import { checkExecResult, protocolError } from '../check/answers.ts';
import { maxOutputBytes } from '../limits.ts';
import type { Budget } from '../link/budget.ts';
import { Capture, type SharedBytes } from './capture.ts';

export interface ExecOptions {
  readonly call: ClientReadableStream<ExecMessage>;
  readonly maxBytes: number;
  /** What all commands of the gateway may keep together. */
  readonly shared: SharedBytes;
  readonly messages: Budget;
  readonly signal: AbortSignal;
  /** Makes the stream's error readable. */
  readonly explain: (caught: unknown) => HuskError;
}

/**
 * Reads a command's output and result. Output beyond the cap is read and dropped: the command goes on.
 * @throws HuskError `data-loss` for messages that no honest agent sends, `resource-exhausted` when all commands of
 *   the gateway keep too much together, or what the call failed with
 */
export function collectExec({
  call,
  maxBytes,
  shared,
  messages,
  signal,
  explain,
}: ExecOptions): Promise<ExecSyncResponse> {
  const captures = { stdout: new Capture(maxBytes, shared), stderr: new Capture(maxBytes, shared) };
  const { promise, resolve, reject } = Promise.withResolvers<ExecSyncResponse>();
  let result: ExecResult | undefined;
  const take = ({ kind }: ExecMessage): void => {
    if (kind === undefined || result !== undefined)
      throw protocolError('exec message of no known kind, or after the result');
    if (kind.$case === 'result') {
      result = checkExecResult(kind.value);
      return;
    }
    const { length } = kind.value;
    if (length === 0 || length > maxOutputBytes)
      throw protocolError(`exec with ${length} bytes at once: want 1 to ${maxOutputBytes}`);
    captures[kind.$case].add(kind.value);
  };
  const pace = paceOf(call, messages);
  call.on('data', (message: ExecMessage) => {
    try {
      take(message);
      pace.count();
    } catch (caught) {
      reject(caught);
      call.cancel();
    }
  });
  call.on('error', (caught: unknown) => reject(explain(caught)));
  call.on('end', () => {
    if (result === undefined) return;
    resolve({ stdout: captures.stdout.take(), stderr: captures.stderr.take(), ...result });
  });
  call.on('status', () => {
    // After `end` or `error`; a stream that ends well but without a result settles here.
    setImmediate(() => reject(protocolError('exec ended without a result')));
  });
  const forget = cancelOn(signal, call);
  return promise.finally(() => {
    pace.stop();
    forget();
    captures.stdout.release();
    captures.stderr.release();
  });
}

/** Cancels the call with the signal; the function returned ends that. */
function cancelOn(signal: AbortSignal, call: ClientReadableStream<ExecMessage>): () => void {
  const cancel = (): void => call.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  return () => signal.removeEventListener('abort', cancel);
}

/** Stops reading a call for a while when its messages come faster than the allowance. */
function paceOf(call: ClientReadableStream<ExecMessage>, messages: Budget): { count(): void; stop(): void } {
  let pause: NodeJS.Timeout | undefined;
  return {
    count() {
      if (messages.spend(1) || pause !== undefined) return;
      call.pause();
      pause = setTimeout(() => {
        pause = undefined;
        call.resume();
      }, messages.waitMs());
    },
    stop: () => clearTimeout(pause),
  };
}
