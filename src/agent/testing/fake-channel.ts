/**
 * QEMU's agent channel with the guest's relay behind it, for tests without a VM: a UNIX socket
 * that serves one connection at a time and drops the guest's bytes while nobody is connected.
 */
import { rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';

const frameBytes = 43;
const frame = /^HUSK-(SYNC|INIT|GO::) ([0-9a-f]{32})\n$/;
const lengthBytes = 4;

/** What a guest can do wrong here. */
export interface ChannelFaults {
  /** Sent to each new connection before anything else: what an earlier session left on the way. */
  readonly stale?: () => Buffer;
  /** What a guest sends in a session instead of what its agent says. */
  readonly hostileSession?: () => Buffer;
  /** husk-sys's answer to a batch (without its length); absent: INIT gets none at all. */
  readonly identity?: (batch: Buffer) => Buffer;
}

/** The channel of one guest whose agent listens on `agentSocket`. */
export class FakeChannel {
  readonly path: string;
  readonly #agentSocket: string;
  readonly #faults: ChannelFaults;
  readonly #server: Server;
  readonly #waiting: Socket[] = [];
  #host: Socket | undefined;
  #agent: Socket | undefined;
  #onSession: () => void = () => {};
  /** Sees what the agent sends. */
  onGuestBytes: (bytes: Buffer) => void = () => {};
  /** Sessions that were opened. */
  sessions = 0;

  private constructor(path: string, agentSocket: string, faults: ChannelFaults) {
    this.path = path;
    this.#agentSocket = agentSocket;
    this.#faults = faults;
    this.#server = createServer({ pauseOnConnect: true }, (socket) => {
      socket.on('error', () => socket.destroy());
      this.#waiting.push(socket);
      this.#next();
    });
  }

  static async listen(path: string, agentSocket: string, faults: ChannelFaults = {}): Promise<FakeChannel> {
    const channel = new FakeChannel(path, agentSocket, faults);
    const { promise, resolve } = Promise.withResolvers<void>();
    channel.#server.listen(path, resolve);
    await promise;
    return channel;
  }

  /** Settles when so many sessions have been opened. */
  async untilSessions(count: number): Promise<void> {
    while (this.sessions < count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onSession = resolve;
      await promise;
    }
  }

  /** Cuts the connection, as a host that dies does. */
  cut(): void {
    this.#host?.destroy();
  }

  /** Sends bytes of its own to the host, in the middle of a session. */
  inject(bytes: Buffer): void {
    this.#host?.write(bytes);
  }

  /** The guest takes no notice any more, but nothing closes. */
  freeze(): void {
    // Read on, to nowhere: a socket that is not read does not notice its end.
    this.#host?.removeAllListeners('data').resume();
    this.#agent?.removeAllListeners('data').resume();
  }

  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    for (const socket of this.#waiting) socket.destroy();
    this.#host?.destroy();
    this.#agent?.destroy();
    await promise;
    await rm(this.path, { force: true });
  }

  #next(): void {
    if (this.#host !== undefined) return;
    const host = this.#waiting.shift();
    if (host === undefined) return;
    this.#host = host;
    host.on('close', () => {
      if (this.#host === host) this.#host = undefined;
      this.#endSession();
      this.#next();
    });
    const stale = this.#faults.stale?.();
    if (stale !== undefined) host.write(stale);
    this.#relay(host);
  }

  #endSession(): void {
    this.#agent?.destroy();
    this.#agent = undefined;
  }

  #relay(host: Socket): void {
    let held = Buffer.alloc(0);
    host.on('data', (bytes: Buffer) => {
      if (this.#agent !== undefined) {
        if (!this.#agent.write(bytes)) host.pause();
        return;
      }
      held = Buffer.concat([held, bytes]);
      for (let at = held.indexOf('HUSK-'); at >= 0 && held.length - at >= frameBytes; at = held.indexOf('HUSK-')) {
        const [, word, nonce] = frame.exec(held.toString('latin1', at, at + frameBytes)) ?? [];
        held = held.subarray(at + (word === undefined ? 1 : frameBytes));
        if (word === 'SYNC') host.write(`HUSK-ECHO ${nonce}\n`);
        if (word === 'INIT') {
          const end = held.length < lengthBytes ? Infinity : lengthBytes + held.readUInt32LE(0);
          if (held.length < end) {
            held = Buffer.concat([Buffer.from(`HUSK-INIT ${nonce}\n`), held]);
            return;
          }
          this.#identify(host, nonce as string, held.subarray(lengthBytes, end));
          held = held.subarray(end);
        }
        if (word === 'GO::' && this.#faults.hostileSession !== undefined) {
          host.removeAllListeners('data').resume().write(this.#faults.hostileSession());
          return;
        }
        if (word === 'GO::') {
          this.#open(host).write(held);
          return;
        }
      }
    });
    host.resume();
  }

  #identify(host: Socket, nonce: string, batch: Buffer): void {
    const answer = this.#faults.identity?.(batch);
    if (answer === undefined) return;
    const head = Buffer.alloc(lengthBytes);
    head.writeUInt32LE(answer.length);
    host.write(Buffer.concat([Buffer.from(`HUSK-DONE ${nonce}\n`), head, answer]));
  }

  #open(host: Socket): Socket {
    const agent = connect(this.#agentSocket);
    this.#agent = agent;
    this.sessions += 1;
    this.#onSession();
    agent.on('error', () => agent.destroy());
    agent.on('drain', () => host.resume());
    host.on('drain', () => agent.resume());
    agent.on('data', (bytes: Buffer) => {
      this.onGuestBytes(bytes);
      if (!host.write(bytes)) agent.pause();
    });
    return agent;
  }
}
