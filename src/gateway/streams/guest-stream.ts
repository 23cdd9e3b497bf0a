/** One stream to a guest: input, two outputs, a size. */
import { Writable } from 'node:stream';
import { HuskError } from '../../base/errors.ts';
import { type GuestFrame, type HostFrameWriter, maxPayloadBytes, type OutputChannel } from './frames.ts';
import { GuestOutput } from './guest-output.ts';

/** What the guest takes of input before it has read any, in bytes (INPUT_WINDOW there). */
const inputWindow = 256 * 1024;
const firstOutputWindow = 32 * 1024;

/** What a stream needs of its link. */
export interface StreamLink {
  readonly writer: HostFrameWriter;
  /** Sends at once; for small frames. */
  send(frame: Buffer): void;
  /** Sends input and its frame; resolves when the next may come. */
  sendData(header: Buffer, data: Buffer): Promise<void>;
  /** Bytes of output that one channel may have on the way now. */
  window(): number;
  forget(id: number): void;
}

export class GuestStream {
  readonly id: number;
  /** What goes to the guest. Its end is a half-close. */
  readonly input: Writable;
  readonly output: GuestOutput;
  readonly error: GuestOutput;
  /** Settles when the guest has joined the stream with what was asked for. */
  readonly ready: Promise<void>;
  readonly #link: StreamLink;
  readonly #ready = Promise.withResolvers<void>();
  #credit = inputWindow;
  #creditWanted: (() => void) | undefined;
  #over: HuskError | undefined;

  constructor(id: number, link: StreamLink) {
    this.id = id;
    this.#link = link;
    this.ready = this.#ready.promise;
    this.ready.catch(() => undefined);
    this.output = this.#outputOf(1);
    this.error = this.#outputOf(2);
    this.input = new Writable({
      highWaterMark: maxPayloadBytes,
      write: (chunk: Buffer, _encoding, done) => void this.#write(chunk).then(() => done(), done),
      final: (done) => {
        if (this.#over === undefined) link.send(link.writer.end(id));
        done();
      },
    });
    this.input.on('error', () => undefined);
  }

  /** The terminal's size, in characters. */
  resize(columns: number, rows: number): void {
    if (this.#over === undefined) this.#link.send(this.#link.writer.resize(this.id, columns, rows));
  }

  /** A frame of the guest for this stream. @throws HuskError `data-loss` for what was not granted */
  receive(frame: Exclude<GuestFrame, { type: 'hello' }>): void {
    switch (frame.type) {
      case 'ready':
        return this.#ready.resolve();
      case 'data':
        if (this.#outputs(frame.channel).deliver(frame.data)) return;
        throw new HuskError('data-loss', 'bulk channel: more output than was granted', { stage: 'agent-protocol' });
      case 'end':
        return this.#outputs(frame.channel).finish();
      case 'credit':
        this.#credit += frame.bytes;
        if (this.#credit > inputWindow)
          throw new HuskError('data-loss', 'bulk channel: more credit than was used', { stage: 'agent-protocol' });
        this.#creditWanted?.();
        return;
      case 'reset':
        return this.#end(new HuskError('unavailable', frame.reason, { stage: 'streaming' }));
      default:
        frame satisfies never;
    }
  }

  /** The host is done with it: what the guest still says is dropped. A process goes on without it. */
  close(): void {
    if (this.#over === undefined) this.#link.send(this.#link.writer.reset(this.id));
    this.#end(new HuskError('cancelled', 'stream: closed', { stage: 'streaming' }));
  }

  /** The link is gone. */
  fail(error: HuskError): void {
    this.#end(error);
  }

  #end(error: HuskError): void {
    if (this.#over !== undefined) return;
    this.#over = error;
    this.#link.forget(this.id);
    this.#ready.reject(error);
    this.#creditWanted?.();
    this.input.destroy();
    for (const output of [this.output, this.error]) if (!output.readableEnded) output.destroy(error);
  }

  #outputs(channel: OutputChannel): GuestOutput {
    return channel === 1 ? this.output : this.error;
  }

  #outputOf(channel: OutputChannel): GuestOutput {
    const link = this.#link;
    const grant = (bytes: number): void => link.send(link.writer.credit(this.id, channel, bytes));
    const output = new GuestOutput({ window: () => link.window(), grant }, firstOutputWindow);
    output.on('error', () => undefined);
    return output;
  }

  async #write(chunk: Buffer): Promise<void> {
    let rest = chunk;
    while (rest.length > 0) {
      while (this.#credit === 0 && this.#over === undefined) {
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#creditWanted = resolve;
        await promise;
        this.#creditWanted = undefined;
      }
      if (this.#over !== undefined) throw this.#over;
      const piece = rest.subarray(0, Math.min(maxPayloadBytes, this.#credit));
      rest = rest.subarray(piece.length);
      this.#credit -= piece.length;
      await this.#link.sendData(this.#link.writer.dataHeader(this.id, piece.length), piece);
    }
  }
}
