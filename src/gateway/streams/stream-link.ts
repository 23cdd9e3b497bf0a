/** The bulk channel of one VM: connects, shakes hands, and keeps the streams that share it. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Clock } from '../../base/clock.ts';
import { HuskError } from '../../base/errors.ts';
import { cleanText } from '../check/text.ts';
import type { LinkLimits } from '../limits.ts';
import { Budget } from '../link/budget.ts';
import { newNonce, shakeHands } from '../link/connector.ts';
import { type GuestFrame, GuestFrameReader, HostFrameWriter, maxFrameBytes } from './frames.ts';
import { GuestStream, type StreamLink } from './guest-stream.ts';

/** Data frames below this cost more than they carry: they are counted. */
const smallBytes = 256;

/** What all links of a gateway share: how much output may wait in it for slow readers. */
export interface OutputWindows {
  streams: number;
}

const allWindowsBytes = 16 * 1024 * 1024;
const largestWindowBytes = 512 * 1024;
const smallestWindowBytes = 32 * 1024;

export interface LinkOptions {
  readonly clock: Clock;
  readonly limits: LinkLimits;
  readonly windows: OutputWindows;
  /** Called once, when the link is over. */
  readonly onClosed: (reason: HuskError) => void;
}

export class BulkLink implements StreamLink {
  readonly writer: HostFrameWriter;
  /** Names this session to the agent. */
  readonly nonce: string;
  readonly #socket: Socket;
  readonly #options: LinkOptions;
  readonly #streams = new Map<number, GuestStream>();
  readonly #small: Budget;
  #nextId = 1;
  #closed: HuskError | undefined;
  #pause: NodeJS.Timeout | undefined;
  /** Data frames are written one after the other: each waits for the socket to take the one before. */
  #turn: Promise<void> = Promise.resolve();

  private constructor(socket: Socket, nonce: string, options: LinkOptions) {
    this.#socket = socket;
    this.nonce = nonce;
    this.writer = new HostFrameWriter(nonce);
    this.#options = options;
    const { clock, limits } = options;
    this.#small = new Budget(clock, limits.smallFramesPerSecond, limits.smallFramesPerSecond);
    const frames = new GuestFrameReader();
    socket.on('data', (chunk: Buffer) => this.#read(frames, chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => this.#fail(new HuskError('unavailable', 'bulk channel: QEMU closed it')));
    socket.resume();
  }

  /**
   * @param path of QEMU's socket
   * @throws HuskError `unavailable`, `deadline-exceeded`, `data-loss`
   */
  static async open(path: string, options: LinkOptions): Promise<BulkLink> {
    const socket = connect(path);
    const nonce = newNonce();
    try {
      await once(socket, 'connect', { signal: AbortSignal.timeout(options.limits.handshakeMs) });
      // A frame that an earlier gateway left half written ends here, at the latest.
      await shakeHands(socket, options.limits, { nonce, before: Buffer.alloc(maxFrameBytes, '\n') });
      return new BulkLink(socket, nonce, options);
    } catch (cause) {
      socket.destroy();
      throw HuskError.from(cause, 'bulk-channel');
    }
  }

  /** Opens a stream: to a port of the pod's loopback, or one that the agent joins with a process. */
  stream(port?: number): GuestStream {
    const { limits, windows } = this.#options;
    if (this.#closed !== undefined) throw this.#closed;
    if (this.#streams.size >= limits.streams) {
      throw new HuskError(
        'resource-exhausted',
        `open a stream: the pod has ${this.#streams.size} already, at most ${limits.streams}`,
        { stage: 'streaming' },
      );
    }
    const id = this.#nextId++;
    this.send(port === undefined ? this.writer.open(id) : this.writer.dial(id, port));
    windows.streams += 1;
    const stream = new GuestStream(id, this);
    this.#streams.set(id, stream);
    return stream;
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  close(): void {
    this.#fail(new HuskError('cancelled', 'bulk channel: closed'));
  }

  window(): number {
    const share = allWindowsBytes / Math.max(1, this.#options.windows.streams);
    return Math.min(largestWindowBytes, Math.max(smallestWindowBytes, share));
  }

  send(frame: Buffer): void {
    if (this.#closed === undefined) this.#socket.write(frame);
  }

  sendData(header: Buffer, data: Buffer): Promise<void> {
    const sent = this.#turn.then(() => this.#write(header, data));
    this.#turn = sent.catch(() => undefined);
    return sent;
  }

  forget(id: number): void {
    if (this.#streams.delete(id)) this.#options.windows.streams -= 1;
  }

  async #write(header: Buffer, data: Buffer): Promise<void> {
    if (this.#closed !== undefined) throw this.#closed;
    const socket = this.#socket;
    socket.cork();
    socket.write(header);
    socket.write(data);
    const more = socket.write(this.writer.mark);
    socket.uncork();
    if (more) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.once('drain', resolve).once('close', resolve);
    await promise;
    socket.off('drain', resolve).off('close', resolve);
  }

  #read(frames: GuestFrameReader, chunk: Buffer): void {
    if (this.#closed !== undefined) return;
    try {
      for (const frame of frames.push(chunk)) this.#take(frame);
    } catch (caught) {
      this.#fail(HuskError.from(caught));
    }
  }

  #take(frame: GuestFrame): void {
    if (frame.type === 'hello') return;
    if (frame.type !== 'data' || frame.data.length < smallBytes) this.#count();
    const stream = this.#streams.get(frame.stream);
    // Frames of a stream that was closed may still be on their way.
    stream?.receive(frame.type === 'reset' ? { ...frame, reason: cleanText(frame.reason) } : frame);
  }

  /** Frames that carry little are read no faster than allowed. */
  #count(): void {
    if (this.#small.spend(1) || this.#pause !== undefined) return;
    this.#socket.pause();
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.#socket.resume();
    }, this.#small.waitMs());
  }

  #fail(error: HuskError): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    clearTimeout(this.#pause);
    this.#socket.destroy();
    for (const stream of [...this.#streams.values()]) stream.fail(error);
    this.#options.onClosed(error);
  }
}
