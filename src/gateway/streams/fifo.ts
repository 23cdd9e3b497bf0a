/** FIFOs that the process of a native pod's stream made for the gateway: opened without waiting for the other side. */
import { closeSync, constants, openSync } from 'node:fs';
import { type OnReadOpts, Socket } from 'node:net';
import { HuskError } from '../../base/errors.ts';

/** The gateway's end. A socket reads from the moment it is made, so it is made when reading may begin. */
export class Fifo {
  readonly #way: 'read' | 'write';
  #fd: number | undefined;
  #socket: Socket | undefined;

  /** @param path which the other side has open already @throws HuskError `unavailable` */
  constructor(path: string, way: 'read' | 'write') {
    this.#way = way;
    const flag = way === 'read' ? constants.O_RDONLY : constants.O_WRONLY;
    try {
      this.#fd = openSync(path, flag | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    } catch (cause) {
      throw new HuskError('unavailable', `stream of a native pod: open "${path}": ${String(cause)}`, {
        cause,
        stage: 'streaming',
      });
    }
  }

  /** The end as a stream; from now on it belongs to that. Once. @param onread of an Inlet, for one that is read */
  open(onread?: OnReadOpts): Socket {
    const [fd, readable] = [this.#fd, this.#way === 'read'];
    if (fd === undefined) throw new HuskError('cancelled', 'stream of a native pod: closed', { stage: 'streaming' });
    const socket = new Socket({ fd, readable, writable: !readable, ...(onread === undefined ? {} : { onread }) });
    this.#fd = undefined;
    this.#socket = socket;
    // The other side may go at any time; what that means is for the control connection to say.
    return socket.on('error', () => undefined);
  }

  close(): void {
    this.#socket?.destroy();
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}
