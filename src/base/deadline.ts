import { HuskError } from './errors.ts';

/**
 * Runs `work` with a signal that fires at the deadline or when the caller's signal does,
 * and rejects at once when it fires, even if `work` does not listen.
 *
 * @param what the wait, in words for the error: `QMP reply to migrate-incoming`
 * @param ms the longest wait, in milliseconds
 * @throws HuskError `deadline-exceeded` or `cancelled`
 */
export async function withDeadline<T>(
  what: string,
  ms: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const { promise: stopped, reject } = Promise.withResolvers<never>();
  const stop = (error: HuskError): void => {
    reject(error);
    controller.abort(error);
  };
  const timer = setTimeout(() => {
    stop(new HuskError('deadline-exceeded', `${what}: no answer within ${ms} ms`));
  }, ms);
  const onAbort = (): void => stop(cancelledBy(what, signal));
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([stopped, controller.signal.aborted ? stopped : work(controller.signal)]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Waits, or rejects when the signal fires. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = (): void => reject(cancelledBy('wait', signal));
  if (signal?.aborted) return (onAbort(), promise);
  signal?.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(resolve, ms);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

function cancelledBy(what: string, signal: AbortSignal | undefined): HuskError {
  const reason: unknown = signal?.reason;
  if (reason instanceof HuskError) return reason;
  return new HuskError('cancelled', `${what}: cancelled by the caller`, { cause: reason });
}
