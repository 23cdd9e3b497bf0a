/** What comes out of a socket or a FIFO, through one buffer that is read into over and over. */
import type { OnReadOpts, Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';

/** A stream holds so much for a client that does not read; the rest stays in the kernel. */
const bufferBytes = 64 * 1024;

/** Takes a piece, which is its own until it returns true or the socket is resumed. False: no more for now. */
export type Sink = (piece: Buffer) => boolean;

export class Inlet {
  /** For the socket, when it is made. It reads from that moment on, but hands nothing over in the same turn. */
  readonly onread: OnReadOpts;
  #sink: Sink;
  #waiting = false;

  /** @param sink takes what comes before `copy` */
  constructor(sink: Sink = () => true) {
    this.#sink = sink;
    // Memory of its own, of which only what was written to becomes real.
    const buffer = Buffer.allocUnsafeSlow(bufferBytes);
    this.onread = { buffer, callback: (bytes) => this.#sink(buffer.subarray(0, bytes)) };
  }

  /** Whether there is something that the client has not taken yet. */
  get waiting(): boolean {
    return this.#waiting;
  }

  /**
   * Hands all that comes from now on to the client, whose end stays open, until the socket is over. What comes after
   * the client has closed its end, or for none, is thrown away: the process at the other end goes on, as it does
   * behind the reference server, which writes on into a stream that its client has reset.
   * @param socket made with `onread`
   * @returns whether it came to its end, and did not break
   */
  async copy(socket: Socket, to: Writable | undefined): Promise<boolean> {
    const next = (): void => {
      this.#waiting = false;
      socket.resume();
    };
    this.#sink = (piece) => {
      if (to === undefined || to.destroyed) return true;
      this.#waiting = true;
      to.write(piece, next);
      return false;
    };
    to?.once('close', next);
    try {
      socket.resume();
      await finished(socket, { writable: false });
      return true;
    } catch {
      return false;
    } finally {
      to?.off('close', next);
    }
  }
}
