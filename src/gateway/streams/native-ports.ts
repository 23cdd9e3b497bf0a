/** Ports of a native pod: connections to a process in its network namespace (src/native/c/native-ports.c). */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { HuskError } from '../../base/errors.ts';
import type { StreamingRuntime } from '../../streaming/streaming-runtime.ts';
import { cleanText } from '../check/text.ts';
import { joinDuplex } from './join-duplex.ts';
import { connected } from './native-control.ts';

/** Two addresses, each for half a minute at most. */
const dialMs = 65_000;
const maxAnswerBytes = 1024;

/** @param path of the process's socket */
export function nativePorts(path: string): Required<Pick<StreamingRuntime, 'portSession' | 'portForward'>> {
  return {
    // The process lives for as long as this connection.
    async portSession(_sandboxId, signal) {
      const session = await connected(path);
      session.on('error', () => undefined);
      if (signal.aborted) session.destroy();
      signal.addEventListener('abort', () => session.destroy(), { once: true });
    },
    async portForward(_sandboxId, port, client, signal) {
      const socket = await dial(path, port);
      const abort = (): void => void socket.destroy();
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) abort();
      try {
        await joinDuplex(client, { input: socket, output: socket });
      } finally {
        signal.removeEventListener('abort', abort);
        socket.destroy();
      }
    },
  };
}

/** @throws HuskError `unavailable` with what both addresses said */
async function dial(path: string, port: number): Promise<Socket> {
  const socket = await connected(path);
  socket.on('error', () => undefined);
  const timer = setTimeout(() => socket.destroy(), dialMs);
  try {
    socket.write(`${port}\n`);
    const answer = await firstLine(socket);
    if (answer === 'ok') return socket;
    throw new HuskError('unavailable', answer.replace(/^error /, ''));
  } catch (cause) {
    socket.destroy();
    const text = cleanText(HuskError.from(cause).message);
    throw new HuskError('unavailable', `failed to connect to localhost:${port} inside the pod: ${text}`, {
      cause,
      stage: 'port-forward',
    });
  } finally {
    clearTimeout(timer);
  }
}

/** What comes after the line stays in the socket. */
async function firstLine(socket: Socket): Promise<string> {
  let text = Buffer.alloc(0);
  while (text.length < maxAnswerBytes && !socket.readableEnded && !socket.destroyed) {
    const bytes = socket.read() as Buffer | null;
    if (bytes === null) {
      await Promise.race([once(socket, 'readable'), once(socket, 'close')]);
      continue;
    }
    text = Buffer.concat([text, bytes]);
    const end = text.indexOf('\n');
    if (end < 0) continue;
    const rest = text.subarray(end + 1);
    if (rest.length > 0) socket.unshift(rest);
    return text.toString('utf8', 0, end);
  }
  throw new HuskError('unavailable', 'the process that forwards its ports is gone');
}
