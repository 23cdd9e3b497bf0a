/**
 * The host's side of the link handshake, as a pure state machine.
 *
 * QEMU drops bytes while nobody is connected, and the guest can miss that a connection ended:
 * only a fresh nonce that comes back proves that what follows belongs to this connection.
 * Every frame has 43 bytes of ASCII: a word of ten, the nonce in 32 hex digits, a newline.
 * The nonce begins with the link's key: what a tenant makes a session carry can look like a SYNC,
 * but cannot hold the key, and the relay takes it for what it is.
 * guest-agent/c/relay is the other side.
 */
import { HuskError } from '../../base/errors.ts';

const frameBytes = 43;
/** What an earlier session may have left on the way: far more than all buffers together hold. */
const maxStaleBytes = 8 * 1024 * 1024;

/** The longest answer to the batch that gives a clone its identity; husk-relay has the same cap. */
const maxAnswerBytes = 16 * 1024;
const lengthBytes = 4;

/** The key of a link that has none yet, the template's: any SYNC ends its session. */
export const noLinkKey = '0'.repeat(16);

/** Whether it is a link's key: 16 lower-case hex digits. */
export function isLinkKey(text: string): boolean {
  return /^[0-9a-f]{16}$/.test(text);
}

/** What the caller must do after bytes came. */
export interface HandshakeStep {
  /** The guest has answered: send these bytes. */
  readonly send?: Buffer;
  /** husk-sys's answer to the batch, without its length. Empty: the guest could not run it, or had run one before. */
  readonly answer?: Buffer;
  /** The session is open; these are its first bytes. The state machine is done. */
  readonly open?: Buffer;
}

const nothing: HandshakeStep = {};

/** One handshake. Holds less than a frame of the guest's bytes, or its answer to the batch. */
export class Handshake {
  /** To be sent at once and then every 50 ms until the guest answers. */
  readonly sync: Buffer;
  readonly #echo: Buffer;
  readonly #done: Buffer;
  readonly #go: Buffer;
  readonly #init: Buffer | undefined;
  #state: 'searching' | 'asking' | 'draining' | 'open' = 'searching';
  #held: Buffer = Buffer.alloc(0);
  #seen = 0;

  /**
   * @param nonce 32 lower-case hex digits, never used before
   * @param batch a batch of husk-sys with its length in front, to be run before the session opens
   */
  constructor(nonce: string, batch?: Buffer) {
    if (!/^[0-9a-f]{32}$/.test(nonce)) {
      throw new HuskError('invalid-argument', `handshake nonce "${nonce}": want 32 lower-case hex digits`);
    }
    this.sync = Buffer.from(`HUSK-SYNC ${nonce}\n`, 'latin1');
    this.#echo = Buffer.from(`HUSK-ECHO ${nonce}\n`, 'latin1');
    this.#done = Buffer.from(`HUSK-DONE ${nonce}\n`, 'latin1');
    this.#go = Buffer.from(`HUSK-GO:: ${nonce}\n`, 'latin1');
    this.#init = batch && Buffer.concat([Buffer.from(`HUSK-INIT ${nonce}\n`, 'latin1'), batch]);
  }

  /** Whether SYNC frames are still to be sent. */
  get searching(): boolean {
    return this.#state === 'searching';
  }

  /** Whether GO was sent, and nothing but the guest's first bytes is waited for. */
  get opening(): boolean {
    return this.#state === 'draining';
  }

  /**
   * Takes bytes of the guest.
   * @throws HuskError `data-loss` when the guest sends on and on without an answer
   */
  receive(chunk: Uint8Array): HandshakeStep {
    if (this.#state === 'open') throw new HuskError('internal', 'handshake: bytes after the session was opened');
    this.#seen += chunk.byteLength;
    const bytes = Buffer.concat([this.#held, chunk]);
    if (this.#state === 'draining') return this.#drain(bytes);
    if (this.#state === 'asking') return this.#ask(bytes);
    const at = bytes.indexOf(this.#echo);
    if (at < 0) {
      if (this.#seen > maxStaleBytes) {
        throw new HuskError('data-loss', `handshake: ${this.#seen} bytes came without an answer to SYNC`);
      }
      this.#held = Buffer.from(bytes.subarray(Math.max(0, bytes.length - (frameBytes - 1))));
      return nothing;
    }
    this.#seen = 0;
    const rest = bytes.subarray(at + frameBytes);
    if (this.#init === undefined) {
      this.#state = 'draining';
      return { send: this.#go, ...this.#drain(rest) };
    }
    this.#state = 'asking';
    return { send: this.#init, ...this.#ask(rest) };
  }

  /** Between INIT and DONE come late answers to SYNC, and nothing else. */
  #ask(bytes: Buffer): HandshakeStep {
    const rest = this.#withoutEchoes(bytes);
    const head = rest.subarray(0, frameBytes);
    const known = [this.#echo, this.#done].some((frame) => head.equals(frame.subarray(0, head.length)));
    if (!known) throw new HuskError('data-loss', 'handshake: the guest answered INIT with something else than DONE');
    const bodyAt = frameBytes + lengthBytes;
    const length = rest.length < bodyAt ? undefined : rest.readUInt32LE(frameBytes);
    if (length !== undefined && length > maxAnswerBytes) {
      throw new HuskError(
        'data-loss',
        `handshake: an answer of ${length} bytes to INIT: want ${maxAnswerBytes} at most`,
      );
    }
    if (length === undefined || rest.length < bodyAt + length) {
      this.#held = Buffer.from(rest);
      return nothing;
    }
    this.#state = 'draining';
    this.#held = Buffer.alloc(0);
    const answer = Buffer.from(rest.subarray(bodyAt, bodyAt + length));
    return { send: this.#go, answer, ...this.#drain(rest.subarray(bodyAt + length)) };
  }

  #withoutEchoes(bytes: Buffer): Buffer {
    let rest = bytes;
    while (rest.length >= frameBytes && rest.subarray(0, frameBytes).equals(this.#echo))
      rest = rest.subarray(frameBytes);
    if (this.#seen > maxStaleBytes) throw new HuskError('data-loss', 'handshake: the guest repeats ECHO without end');
    return rest;
  }

  /** Late answers, one for each SYNC that was sent, come before the first byte of the session. */
  #drain(bytes: Buffer): HandshakeStep {
    const rest = this.#withoutEchoes(bytes);
    if (rest.length < frameBytes && rest.equals(this.#echo.subarray(0, rest.length))) {
      this.#held = Buffer.from(rest);
      return nothing;
    }
    return this.finish(rest);
  }

  /** Opens the session although the guest is silent: what is held are its first bytes. */
  finish(rest: Buffer = this.#held): HandshakeStep & { readonly open: Buffer } {
    this.#state = 'open';
    this.#held = Buffer.alloc(0);
    return { open: Buffer.from(rest) };
  }
}
