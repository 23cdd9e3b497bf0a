/** Ports of a native pod: connections to a process in its network namespace (src/native/c/native-ports.c). */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { HuskError } from '../../base/errors.ts';
import type { StreamingRuntime } from '../../streaming/streaming-runtime.ts';
import { cleanText } from '../check/text.ts';
import { Inlet } from './inlet.ts';
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
      const { socket, down } = await dial(path, port);
      const abort = (): void => void socket.destroy();
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) abort();
      try {
        await joinDuplex(client, socket, down(client));
      } finally {
        signal.removeEventListener('abort', abort);
        socket.destroy();
      }
    },
  };
}

/** A connection inside the pod. */
interface Dialled {
  readonly socket: Socket;
  /** Copies what comes from it to the client, whose stream it ends. Once. @throws HuskError when the connection breaks */
  readonly down: (client: Duplex) => Promise<void>;
}

/** @throws HuskError `unavailable` with what both addresses said */
async function dial(path: string, port: number): Promise<Dialled> {
  const answer = new Answer();
  const socket = await connected(path, answer.inlet.onread);
  socket.on('error', () => undefined);
  socket.once('close', () => answer.broken()).once('end', () => answer.broken());
  const timer = setTimeout(() => socket.destroy(), dialMs);
  try {
    socket.write(`${port}\n`);
    const line = await answer.line;
    if (line !== 'ok') throw new HuskError('unavailable', line.replace(/^error /, ''));
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
  return {
    socket,
    down: async (client) => {
      if (answer.rest.length > 0) client.write(answer.rest);
      const whole = await answer.inlet.copy(socket, client);
      if (!whole) throw new HuskError('unavailable', `localhost:${port} inside the pod: the connection broke`);
      client.end();
    },
  };
}

/** The first line that comes, and what comes with it. */
class Answer {
  readonly inlet = new Inlet((piece) => this.#take(piece));
  readonly line: Promise<string>;
  /** Bytes behind the line, of the connection itself. */
  rest: Buffer = Buffer.alloc(0);
  readonly #line = Promise.withResolvers<string>();

  constructor() {
    this.line = this.#line.promise;
    this.line.catch(() => undefined);
  }

  broken(): void {
    this.#line.reject(new HuskError('unavailable', 'the process that forwards its ports is gone'));
  }

  /** Nothing more is read once the line is there. */
  #take(piece: Buffer): boolean {
    this.rest = Buffer.concat([this.rest, piece]);
    const end = this.rest.indexOf('\n');
    if (end < 0 && this.rest.length < maxAnswerBytes) return true;
    if (end < 0) this.broken();
    this.#line.resolve(this.rest.toString('utf8', 0, end));
    this.rest = this.rest.subarray(end + 1);
    return false;
  }
}
