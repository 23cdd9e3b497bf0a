/** The host's end of the link to a guest: the handshake, and just enough HTTP/2 to see an answer. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { sleep, withDeadline } from '../../src/base/deadline.ts';
import { isErrno } from '../../src/base/errors.ts';

const syncEveryMs = 50;
const frameHeaderBytes = 9;
const pingType = 6;
const ackFlag = 1;

/** An open session of the link. */
export interface Link {
  readonly socket: Socket;
  /** From the first SYNC to its ECHO. */
  readonly handshakeMs: number;
  /** Sends an HTTP/2 PING and waits for its acknowledgement. */
  ping(): Promise<void>;
}

/** Connects to QEMU's end of the port, shakes hands, and opens an HTTP/2 connection. */
export async function openLink(path: string, ms: number): Promise<Link> {
  return withDeadline(`the guest's answer on "${path}"`, ms, undefined, async (signal) => {
    const socket = await dial(path, signal);
    signal.addEventListener('abort', () => socket.destroy(), { once: true });
    const nonce = randomBytes(16).toString('hex');
    const started = performance.now();
    let bytes = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
    });
    const echo = Buffer.from(`HUSK-ECHO ${nonce}\n`);
    const again = setInterval(() => socket.write(`HUSK-SYNC ${nonce}\n`), syncEveryMs);
    socket.write(`HUSK-SYNC ${nonce}\n`);
    try {
      while (!bytes.includes(echo)) await once(socket, 'data', { signal });
    } finally {
      clearInterval(again);
    }
    const handshakeMs = performance.now() - started;
    bytes = bytes.subarray(bytes.indexOf(echo) + echo.length);
    const noSettings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    socket.write(`HUSK-GO:: ${nonce}\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`);
    socket.write(noSettings);
    const ping = async (): Promise<void> => {
      const opaque = randomBytes(8);
      socket.write(pingFrame(opaque, 0));
      const wanted = pingFrame(opaque, ackFlag);
      while (!bytes.includes(wanted)) await once(socket, 'data', { signal });
      // Late answers to SYNC come before the first byte of HTTP/2, and nothing else does.
      while (bytes.subarray(0, echo.length).equals(echo)) bytes = bytes.subarray(echo.length);
    };
    return { socket, handshakeMs, ping };
  });
}

/** An HTTP/2 PING frame (RFC 9113 section 6.7). */
export function pingFrame(opaque: Uint8Array, flags: number): Buffer {
  const header = Buffer.alloc(frameHeaderBytes);
  header.writeUIntBE(opaque.length, 0, 3);
  header.writeUInt8(pingType, 3);
  header.writeUInt8(flags, 4);
  return Buffer.concat([header, opaque]);
}

/** QEMU makes its socket shortly after it has started. */
async function dial(path: string, signal: AbortSignal): Promise<Socket> {
  for (;;) {
    const socket = connect(path);
    try {
      await once(socket, 'connect', { signal });
      socket.on('error', () => undefined);
      return socket;
    } catch (caught) {
      socket.destroy();
      if (!isErrno(caught, 'ENOENT') && !isErrno(caught, 'ECONNREFUSED')) throw caught;
      await sleep(20, signal);
    }
  }
}
