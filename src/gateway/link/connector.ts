/**
 * Dials a VM's agent channel for grpc-js.
 *
 * grpc-js connects a socket and then lets its credentials make a secure connection out of it.
 * The link handshake is done at that point: the socket of QEMU is the one that HTTP/2 then uses,
 * with no relay and no copy in between. The interface is among the experimental exports of
 * grpc-js, whose version is pinned; `connector.test.ts` fails if it changes.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { CallCredentials, ChannelCredentials, type experimental } from '@grpc/grpc-js';
import { HuskError } from '../../base/errors.ts';
import type { LinkLimits } from '../limits.ts';
import { Handshake } from './handshake.ts';

type SecureConnector = experimental.SecureConnector;
type SecureConnectResult = experimental.SecureConnectResult;

/** A guest that says nothing after GO may wait for the client to speak first. */
const silentGuestMs = 1_000;

/** A batch of husk-sys that the guest is to run once, before the first session. */
export class GuestBatch {
  /** The batch with its length in front. */
  readonly bytes: Buffer;
  readonly #answer = Promise.withResolvers<Buffer>();
  #sent = false;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.answer.catch(() => undefined);
  }

  /** husk-sys's answer. Rejects when the link broke after the batch was sent: it is not sent twice. */
  get answer(): Promise<Buffer> {
    return this.#answer.promise;
  }

  /** For the next handshake: the batch, or undefined when one has sent it. */
  take(): Buffer | undefined {
    if (this.#sent) return undefined;
    return this.bytes;
  }

  /** What a handshake did with it. */
  progress(step: { readonly sent?: true; readonly answer?: Buffer | undefined; readonly failed?: unknown }): void {
    this.#sent ||= step.sent === true;
    if (step.answer !== undefined) this.#answer.resolve(step.answer);
    if (this.#sent && step.failed !== undefined) this.#answer.reject(HuskError.from(step.failed, 'identity'));
  }
}

/** What a link's handshakes begin with. */
export interface LinkStart {
  /** 16 lower-case hex digits, the VM's own. */
  readonly key: string;
  /** To be run by the guest before the first session. */
  readonly batch?: GuestBatch | undefined;
}

/** Credentials whose secure connection is the link handshake. One for each link. */
export class LinkCredentials extends ChannelCredentials {
  readonly #limits: LinkLimits;
  readonly #start: LinkStart;
  readonly #sockets = new Set<Socket>();
  #bytesOfClosed = 0;
  #closed = false;
  #lastFailure = 'no answer yet';

  constructor(limits: LinkLimits, start: LinkStart) {
    super();
    this.#limits = limits;
    this.#start = start;
  }

  /** Why the latest handshake failed, for the error of the wait that it belongs to. */
  get lastFailure(): string {
    return this.#lastFailure;
  }

  /** Bytes that the guest has sent over all connections. */
  get bytesRead(): number {
    let sum = this.#bytesOfClosed;
    for (const socket of this.#sockets) sum += socket.bytesRead;
    return sum;
  }

  /** Ends all connections, and lets none be made any more. */
  close(): void {
    this.#closed = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  override _isSecure(): boolean {
    return false;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(): SecureConnector {
    return {
      connect: (socket) => this.#connect(socket),
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => CallCredentials.createEmpty(),
      destroy: () => {},
    };
  }

  async #connect(socket: Socket): Promise<SecureConnectResult> {
    if (this.#closed) {
      socket.destroy();
      throw new HuskError('cancelled', 'link: closed');
    }
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#bytesOfClosed += socket.bytesRead;
    });
    try {
      const { key, batch } = this.#start;
      await shakeHands(socket, this.#limits, { nonce: newNonce(key), batch });
      return { socket, secure: false };
    } catch (caught) {
      this.#lastFailure = HuskError.from(caught).message;
      socket.destroy();
      throw caught;
    }
  }
}

/** How one handshake names its session. */
export interface SessionStart {
  /** Of `newNonce`. */
  readonly nonce: string;
  readonly batch?: GuestBatch | undefined;
  /** Sent in front of the first SYNC. */
  readonly before?: Buffer;
}

/** A name for a session that no other one has: 32 hex digits. @param key of the link, 16 of them: it begins the name */
export function newNonce(key = randomBytes(8).toString('hex')): string {
  return key + randomBytes(8).toString('hex');
}

/**
 * Does the handshake on a connected socket. What the session starts with is put back into it.
 *
 * @throws HuskError `deadline-exceeded`, `unavailable`, `data-loss`
 */
export function shakeHands(
  socket: Socket,
  limits: Pick<LinkLimits, 'syncEveryMs' | 'handshakeMs'>,
  { nonce, batch, before = Buffer.alloc(0) }: SessionStart,
): Promise<void> {
  const handshake = new Handshake(nonce, batch?.take());
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const sendSync = (): void => {
    // A guest that does not read must not make the frames pile up here.
    if (handshake.searching && socket.writableLength === 0) socket.write(handshake.sync);
  };
  const finish = (open: Buffer): void => {
    socket.pause();
    if (open.length > 0) socket.unshift(open);
    resolve();
  };
  let silence: NodeJS.Timeout | undefined;
  const onData = (chunk: Buffer): void => {
    try {
      const wasSearching = handshake.searching;
      const step = handshake.receive(chunk);
      // It is up only now, and the batch can be sent but once: what is left of the time may be too short for it.
      if (wasSearching && !handshake.searching) timer.refresh();
      if (step.send !== undefined) socket.write(step.send);
      if (!handshake.searching) batch?.progress({ sent: true, answer: step.answer });
      if (handshake.opening) silence ??= setTimeout(() => finish(handshake.finish().open), silentGuestMs);
      if (step.open !== undefined) finish(step.open);
    } catch (caught) {
      reject(HuskError.from(caught, 'link-handshake'));
    }
  };
  const onError = (caught: Error): void =>
    reject(new HuskError('unavailable', `link handshake: ${caught.message}`, { cause: caught }));
  const onClose = (): void => reject(new HuskError('unavailable', 'link handshake: QEMU closed the agent channel'));
  const ticker = setInterval(sendSync, limits.syncEveryMs);
  const timer = setTimeout(() => {
    reject(
      new HuskError('deadline-exceeded', `link handshake: no answer of the guest within ${limits.handshakeMs} ms`),
    );
  }, limits.handshakeMs);
  socket.on('data', onData).on('error', onError).on('close', onClose);
  socket.write(Buffer.concat([before, handshake.sync]));
  promise.catch((failed: unknown) => batch?.progress({ failed }));
  return promise.finally(() => {
    clearInterval(ticker);
    clearTimeout(timer);
    clearTimeout(silence);
    socket.off('data', onData).off('error', onError).off('close', onClose);
  });
}
