import { HuskError } from '../../base/errors.ts';

/**
 * Runs work with a signal that fires at the deadline or with the caller's, and waits until the
 * work itself has ended: what it holds is only then given back, so that clean-up never runs
 * beside it. For work that listens to its signal.
 *
 * @param ms milliseconds
 */
export async function bounded<T>(
  what: string,
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted();
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(signal.reason);
  const timer = setTimeout(() => {
    controller.abort(new HuskError('deadline-exceeded', `${what}: not done within ${ms} ms`));
  }, ms);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}
