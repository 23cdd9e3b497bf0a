/**
 * Runs both at once. When one fails the other is cancelled, and waited for, so that no undo
 * runs beside work that goes on.
 */
export async function bothOrNeither<A, B>(
  outer: AbortSignal,
  first: (signal: AbortSignal) => Promise<A>,
  second: (signal: AbortSignal) => Promise<B>,
): Promise<[A, B]> {
  const failed = new AbortController();
  const signal = AbortSignal.any([outer, failed.signal]);
  const abortOthers = (caught: unknown): never => {
    failed.abort(caught);
    throw caught;
  };
  const [a, b] = await Promise.allSettled([first(signal).catch(abortOthers), second(signal).catch(abortOthers)]);
  if (a.status === 'fulfilled' && b.status === 'fulfilled') return [a.value, b.value];
  throw failed.signal.reason;
}
