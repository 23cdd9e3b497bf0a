/** A client and a connection inside a pod, joined both ways. */
import { once } from 'node:events';
import type { Duplex, Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** Copies both ways, each half-closed by itself. An end that breaks breaks the other. */
export async function joinDuplex(
  client: Duplex,
  { input, output }: { readonly input: Writable; readonly output: Readable },
): Promise<void> {
  const up = pipeline(client, input).catch(() => client.destroy());
  const down = pipeline(output, client);
  const gone = once(client, 'close').then(() => undefined);
  gone.catch(() => undefined);
  await Promise.all([up, Promise.race([down, gone])]);
}
