/** A process's output on its way to the client. */
import type { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';

/**
 * Copies until the source is over, and leaves the client's end open. A client that closes this end gets no more; what
 * still comes is read and thrown away, so that the process goes on, as it does behind the reference server, which
 * writes on into a stream that its client has reset.
 * @throws what broke the source
 */
export async function copyOutput(from: Readable, to: Writable | undefined): Promise<void> {
  const discard = (): void => void from.unpipe().resume();
  if (to === undefined || to.destroyed) discard();
  else from.pipe(to, { end: false });
  to?.once('close', discard);
  try {
    await finished(from, { writable: false });
  } finally {
    to?.off('close', discard);
  }
}
