/** A client and a connection inside a pod, joined both ways. */
import { once } from 'node:events';
import type { Duplex, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/**
 * Copies both ways, each half-closed by itself. An end that breaks breaks the other.
 * @param down copies what the pod says to the client, and ends the client's stream; rejects when the pod's end breaks
 */
export async function joinDuplex(client: Duplex, input: Writable, down: Promise<void>): Promise<void> {
  const up = pipeline(client, input).catch(() => client.destroy());
  const gone = once(client, 'close').then(() => undefined);
  gone.catch(() => undefined);
  await Promise.all([up, Promise.race([down, gone])]);
}
