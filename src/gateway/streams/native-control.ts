/** The connection to the process that serves one stream of a native pod (src/native/c/native-exec.c): lines. */
import { once } from 'node:events';
import { connect, type OnReadOpts, type Socket } from 'node:net';
import { HuskError } from '../../base/errors.ts';
import { cleanText } from '../check/text.ts';

/** The OCI runtime starts a process in tens of milliseconds; this is for a machine that is stuck. */
const startMs = 60_000;
const maxLineBytes = 1024;

export class NativeControl {
  /** The exit code, when the process has ended. Rejects when there will be none. */
  readonly exit: Promise<number>;
  readonly #socket: Socket;
  readonly #started = Promise.withResolvers<void>();
  readonly #exit = Promise.withResolvers<number>();
  #text = '';

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.exit = this.#exit.promise;
    for (const promise of [this.#started.promise, this.exit]) promise.catch(() => undefined);
    socket.on('data', (bytes: Buffer) => this.#take(bytes.toString('utf8')));
    socket.on('error', () => undefined);
    socket.on('close', () =>
      this.#fail(new HuskError('unavailable', 'stream of a native pod: its process is gone', { stage: 'streaming' })),
    );
  }

  /** @param path of its socket @throws HuskError `unavailable` when nobody listens */
  static async open(path: string): Promise<NativeControl> {
    return new NativeControl(await connected(path));
  }

  /** The FIFOs are open: it may begin. @throws HuskError with why it could not */
  async start(): Promise<void> {
    this.#socket.write('go\n');
    const late = new HuskError('deadline-exceeded', `start of the process: no answer within ${startMs} ms`);
    const timer = setTimeout(() => this.#fail(late), startMs);
    await this.#started.promise.finally(() => clearTimeout(timer));
  }

  /** The terminal's size, in characters. */
  resize(columns: number, rows: number): void {
    // What is not taken is old soon: sizes do not queue.
    if (!this.#socket.writableNeedDrain) this.#socket.write(`size ${columns} ${rows}\n`);
  }

  /** The client is gone, or all is said. */
  close(): void {
    this.#socket.destroy();
  }

  #take(text: string): void {
    const lines = (this.#text + text).split('\n');
    this.#text = (lines.pop() ?? '').slice(0, maxLineBytes);
    for (const line of lines) {
      const [word = '', ...rest] = line.split(' ');
      if (word === 'started') this.#started.resolve();
      else if (word === 'exit') this.#exit.resolve(Number(rest[0]));
      else this.#fail(new HuskError('unknown', cleanText(rest.join(' ')), { stage: 'oci-runtime' }));
    }
  }

  #fail(error: HuskError): void {
    this.#started.reject(error);
    this.#exit.reject(error);
  }
}

/**
 * Connects to a socket in the folder of such a process.
 * @param onread of an Inlet, if that is to read it
 * @throws HuskError `unavailable`
 */
export async function connected(path: string, onread?: OnReadOpts): Promise<Socket> {
  const socket = connect({ path, allowHalfOpen: true, ...(onread === undefined ? {} : { onread }) });
  try {
    await once(socket, 'connect');
    return socket;
  } catch (cause) {
    throw new HuskError('unavailable', `stream of a native pod: its process does not answer: ${String(cause)}`, {
      cause,
      stage: 'streaming',
    });
  }
}
