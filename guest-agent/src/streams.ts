/** Talks to husk-streams (c/streams/), which moves the bytes of streams: one connection for each. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { HuskError } from '../../src/base/errors.ts';
import type { StreamRef } from '../../src/gen/agent/v1/agent.ts';

/** An answer takes no longer than opening a few files. */
const answerMs = 10_000;
const maxLineBytes = 1024;

/** Paths of FIFOs; those not wanted are undefined. */
export interface StreamFifos {
  readonly input: string | undefined;
  readonly output: string | undefined;
  readonly error: string | undefined;
}

export class Streams {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Joins a stream of the host with FIFOs. The input must have a reader. @throws HuskError `unavailable` */
  join(ref: StreamRef, { input = '-', output = '-', error = '-' }: Partial<StreamFifos>): Promise<StreamHandle> {
    return this.#ask(`join ${refText(ref)} ${input} ${output} ${error}`);
  }

  /** Joins a stream of the host with the terminal that is going to be sent to the socket. */
  terminal(ref: StreamRef, consoleSocket: string): Promise<StreamHandle> {
    return this.#ask(`tty ${refText(ref)} ${consoleSocket}`);
  }

  /** Joins the terminal that is going to be sent to the socket with two FIFOs. The output must have a reader. */
  console(consoleSocket: string, input: string | undefined, output: string): Promise<StreamHandle> {
    return this.#ask(`console ${consoleSocket} ${input ?? '-'} ${output}`);
  }

  async #ask(line: string): Promise<StreamHandle> {
    const handle = new StreamHandle(connect(this.#path));
    try {
      await handle.ask(line, 'ok');
      return handle;
    } catch (caught) {
      handle.close();
      throw caught;
    }
  }
}

/** The nonce comes from the host, but a blank in it would shift the words of the line. */
function refText({ nonce, stream }: StreamRef): string {
  if (/^[0-9a-f]{32}$/.test(nonce)) return `${nonce} ${stream}`;
  throw new HuskError('invalid-argument', `stream.nonce "${nonce.slice(0, 40)}": wanted 32 hex digits`);
}

/** What was joined. Its end closes it. */
export class StreamHandle {
  /** Resolves when the client, or husk-streams, has gone. */
  readonly gone: Promise<void>;
  readonly #socket: Socket;
  readonly #gone = Promise.withResolvers<void>();
  #text = '';
  #answer: ((line: string) => void) | undefined;
  #onSize: ((columns: number, rows: number) => void) | undefined;
  #size: readonly [columns: number, rows: number] | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.gone = this.#gone.promise;
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#answer?.('error: closed');
      this.#gone.resolve();
    });
    socket.on('data', (bytes: Buffer) => this.#take(bytes.toString('latin1')));
  }

  /** Waits until all output is on its way to the host, or nothing has come for the time. Has no deadline: a slow client is one. */
  async drain(idleMs: number): Promise<void> {
    await Promise.race([this.#say(`drain ${idleMs}`), this.gone]);
  }

  /** Sizes of the client's terminal, where it has no terminal of its own here. */
  onSize(listener: (columns: number, rows: number) => void): void {
    this.#onSize = listener;
    // The first one comes with the answer to the join.
    if (this.#size !== undefined) listener(...this.#size);
  }

  /** Sets the size of a console. */
  setSize(columns: number, rows: number): void {
    this.#socket.write(`size ${columns} ${rows}\n`);
  }

  async ask(line: string, wanted: string): Promise<void> {
    const timer = setTimeout(() => this.#socket.destroy(), answerMs);
    const answer = await this.#say(line).finally(() => clearTimeout(timer));
    if (answer !== wanted) throw new HuskError('unavailable', `join a stream: ${answer}`, { stage: 'streaming' });
  }

  close(): void {
    this.#socket.destroy();
  }

  async #say(line: string): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#answer = resolve;
    if (this.#socket.connecting) await once(this.#socket, 'connect').catch(() => undefined);
    if (this.#socket.destroyed) return 'error: husk-streams does not answer';
    this.#socket.write(`${line}\n`);
    return await promise;
  }

  #take(text: string): void {
    const lines = (this.#text + text).split('\n');
    this.#text = (lines.pop() ?? '').slice(0, maxLineBytes);
    for (const line of lines) {
      const size = /^size (\d{1,5}) (\d{1,5})$/.exec(line);
      if (size !== null) {
        this.#size = [Number(size[1]), Number(size[2])];
        this.#onSize?.(...this.#size);
      } else if (line === 'gone') this.#gone.resolve();
      else this.#answer?.(line);
    }
  }
}
