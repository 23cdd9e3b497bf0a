/** Where a program of husk logs to: a descriptor that may at any time have no room. */
import { pino } from 'pino';

/** What waits while nothing can be written; later lines are dropped. */
const maxWaitingBytes = 1024 * 1024;

/**
 * A destination for pino, written to at once. A full disk below a log must not end the program: what was not
 * written is tried again with the next line.
 */
export function logDestination(fd: number): ReturnType<typeof pino.destination> {
  const destination = pino.destination({ dest: fd, sync: true, maxLength: maxWaitingBytes });
  // Without a listener the error would end the process; there is nowhere left to tell it.
  destination.on('error', () => undefined);
  return destination;
}
