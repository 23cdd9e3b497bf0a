/** ExecSync: one command to its end, its output kept up to a cap. */
import type { ClientReadableStream } from '@grpc/grpc-js';
import { HuskError } from '../../base/errors.ts';
import type { ExecMessage, ExecResult } from '../../gen/agent/v1/agent.ts';
import type { ExecSyncResponse } from '../../gen/gateway/v1/gateway.ts';
import { checkExecResult, protocolError } from '../check/answers.ts';
import { maxOutputBytes } from '../limits.ts';
import type { Budget } from '../link/budget.ts';

/** Keeps the first bytes of a stream. */
class Capture {
  readonly #most: number;
  #parts: Buffer[] = [];
  #bytes = 0;

  constructor(most: number) {
    this.#most = most;
  }

  add(data: Buffer): void {
    const room = this.#most - this.#bytes;
    if (room <= 0) return;
    const kept = data.length > room ? data.subarray(0, room) : data;
    this.#parts.push(kept);
    this.#bytes += kept.length;
  }

  take(): Buffer {
    return Buffer.concat(this.#parts, this.#bytes);
  }
}

export interface ExecOptions {
  readonly call: ClientReadableStream<ExecMessage>;
  readonly maxBytes: number;
  readonly messages: Budget;
  readonly signal: AbortSignal;
  /** Makes the stream's error readable. */
  readonly explain: (caught: unknown) => HuskError;
}

/**
 * Reads a command's output and result. Output beyond the cap is read and dropped: the command goes on.
 * @throws HuskError `data-loss` for messages that no honest agent sends, or what the call failed with
 */
export function collectExec({ call, maxBytes, messages, signal, explain }: ExecOptions): Promise<ExecSyncResponse> {
  const captures = { stdout: new Capture(maxBytes), stderr: new Capture(maxBytes) };
  const { promise, resolve, reject } = Promise.withResolvers<ExecSyncResponse>();
  let result: ExecResult | undefined;
  let pause: NodeJS.Timeout | undefined;
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
  call.on('data', (message: ExecMessage) => {
    try {
      take(message);
    } catch (caught) {
      reject(caught);
      call.cancel();
      return;
    }
    if (messages.spend(1) || pause !== undefined) return;
    call.pause();
    pause = setTimeout(() => {
      pause = undefined;
      call.resume();
    }, messages.waitMs());
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
  const cancel = (): void => call.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  return promise.finally(() => {
    clearTimeout(pause);
    signal.removeEventListener('abort', cancel);
  });
}
