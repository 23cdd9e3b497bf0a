/** A raw FUSE client: says whatever a test wants, also what no kernel would. */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { sleep } from '../../src/base/deadline.ts';
import { type Field, text, u16, u32, u64 } from './fields.ts';

/** Requests (linux/fuse.h). */
export const op = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  readlink: 5,
  symlink: 6,
  mknod: 8,
  mkdir: 9,
  unlink: 10,
  rmdir: 11,
  rename: 12,
  link: 13,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  setxattr: 21,
  getxattr: 22,
  listxattr: 23,
  removexattr: 24,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  setlk: 32,
  setlkw: 33,
  create: 35,
  interrupt: 36,
  batchForget: 42,
  fallocate: 43,
  readdirplus: 44,
  rename2: 45,
  lseek: 46,
} as const;
const headBytes = 40;
const answerHeadBytes = 16;
/** Of the root. */
export const rootNode = 1n;

/** What came back: the body, or the errno. */
export interface Answer {
  readonly errno: number;
  readonly body: Buffer;
}

/** What `setattr` sets; all of it is sent, `valid` says what counts. */
export interface Attributes {
  readonly valid: number;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly times?: readonly [number, number];
}

export class FuseClient {
  readonly #socket: Socket;
  #input: Buffer = Buffer.alloc(0);
  readonly #waiting = new Map<bigint, (answer: Answer | undefined) => void>();
  #unique = 1n;
  #ended = false;
  /** What came that is no answer: its kind, and the rest. */
  readonly notices: { readonly kind: number; readonly body: Buffer }[] = [];
  /** The user that asks. */
  uid = 0;
  gid = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('close', () => {
      this.#ended = true;
      for (const done of this.#waiting.values()) done(undefined);
      this.#waiting.clear();
    });
    socket.on('error', () => undefined);
  }

  /** Sends and waits; undefined when the server has ended the session. */
  call(code: number, node: bigint, ...fields: readonly Field[]): Promise<Answer | undefined> {
    return this.ask(code, node, ...fields).answer;
  }

  /** Sends; the number is what an interrupt names. */
  ask(
    code: number,
    node: bigint,
    ...fields: readonly Field[]
  ): { unique: bigint; answer: Promise<Answer | undefined> } {
    const body = Buffer.concat(fields);
    this.#unique += 2n;
    const unique = this.#unique;
    const owner = [u32(this.uid), u32(this.gid), u32(0), u16(0), u16(0)];
    const head = [u32(headBytes + body.length), u32(code), u64(unique), u64(node), ...owner];
    return { unique, answer: this.#send(Buffer.concat([...head, body]), unique) };
  }

  /** Bytes as they are. Undefined when the server ends the session; null when it still stands afterwards. */
  async sendRaw(bytes: Buffer): Promise<undefined | null> {
    if (!this.#ended) this.#socket.write(bytes);
    for (let tries = 0; tries < 100 && !this.#ended; tries += 1) await sleep(20);
    return this.#ended ? undefined : null;
  }

  /** Takes no more answers, until told to go on. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Requests that nobody answers. */
  forget(node: bigint, lookups = 1): void {
    void this.ask(op.forget, node, u64(lookups));
  }

  /** As a kernel begins. */
  async start(): Promise<void> {
    await this.must(op.init, 0n, u32(7), u32(37), u32(131_072), u32(0xffff_ffff), Buffer.alloc(48));
  }

  /** @throws Error with `errno` */
  async must(code: number, node: bigint, ...fields: readonly Field[]): Promise<Buffer> {
    const answer = await this.call(code, node, ...fields);
    if (answer === undefined) throw new Error(`request ${code}: the session was ended`);
    if (answer.errno !== 0) throw Object.assign(new Error(`request ${code}: errno ${answer.errno}`), answer);
    return answer.body;
  }

  /** The node at the names, from the root or another. */
  async walk(from: bigint, ...names: readonly (string | Buffer)[]): Promise<bigint> {
    let node = from;
    for (const name of names) node = (await this.must(op.lookup, node, text(name))).readBigUInt64LE(0);
    return node;
  }

  /** A handle on the file of a node. */
  async open(node: bigint, flags: number): Promise<bigint> {
    return (await this.must(op.open, node, u32(flags), u32(0))).readBigUInt64LE(0);
  }

  async read(handle: bigint, offset: number, size: number): Promise<Buffer> {
    return this.must(op.read, 0n, u64(handle), u64(offset), u32(size), u32(0), u64(0), u32(0), u32(0));
  }

  async write(handle: bigint, offset: number, bytes: Buffer): Promise<number> {
    const at = [u64(handle), u64(offset), u32(bytes.length), u32(0), u64(0), u32(0), u32(0)];
    return (await this.must(op.write, 0n, ...at, bytes)).readUInt32LE(0);
  }

  /** Makes a file: its node and its handle. */
  async create(folder: bigint, name: string, mode = 0o644, flags = 0o102): Promise<{ node: bigint; handle: bigint }> {
    const body = await this.must(op.create, folder, u32(flags), u32(mode), u32(0), u32(0), text(name));
    return { node: body.readBigUInt64LE(0), handle: body.readBigUInt64LE(128) };
  }

  setattr(node: bigint, attributes: Attributes): Promise<Answer | undefined> {
    const { valid, mode = 0, uid = 0, gid = 0, size = 0, times: [atime, mtime] = [0, 0] } = attributes;
    const numbers = [u64(0), u64(size), u64(0), u64(atime), u64(mtime), u64(0), u32(0), u32(0), u32(0)];
    return this.call(op.setattr, node, u32(valid), u32(0), ...numbers, u32(mode), u32(0), u32(uid), u32(gid), u32(0));
  }

  async release(handle: bigint): Promise<void> {
    await this.must(op.release, 0n, u64(handle), u32(0), u32(0), u64(0));
  }

  /** Names of a folder, in the order they come, by either request. */
  async list(node: bigint, request: number = op.readdir): Promise<string[]> {
    const handle = (await this.must(op.opendir, node, u32(0o200000), u32(0))).readBigUInt64LE(0);
    const found: string[] = [];
    const before = request === op.readdirplus ? 128 : 0;
    for (let offset = 0n; ; ) {
      const at = [u64(handle), u64(offset), u32(4096), u32(0), u64(0), u32(0), u32(0)];
      const body = await this.must(request, node, ...at);
      if (body.length === 0) break;
      for (let entry = before; entry < body.length; ) {
        offset = body.readBigUInt64LE(entry + 8);
        const length = body.readUInt32LE(entry + 16);
        found.push(body.subarray(entry + 24, entry + 24 + length).toString('latin1'));
        entry += before + ((24 + length + 7) & ~7);
      }
    }
    await this.must(op.releasedir, node, u64(handle), u32(0), u32(0), u64(0));
    return found;
  }

  /** Ends the session and waits until the other side has. */
  async end(): Promise<void> {
    if (this.#socket.destroyed) return;
    const closed = once(this.#socket, 'close');
    this.#socket.destroy();
    await closed;
  }

  #send(bytes: Buffer, unique: bigint): Promise<Answer | undefined> {
    const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
    if (this.#ended) resolve(undefined);
    else {
      this.#waiting.set(unique, resolve);
      this.#socket.write(bytes);
    }
    return promise;
  }

  #read(chunk: Buffer): void {
    this.#input = Buffer.concat([this.#input, chunk]);
    while (this.#input.length >= answerHeadBytes && this.#input.length >= this.#input.readUInt32LE(0)) {
      const size = this.#input.readUInt32LE(0);
      const [message, rest] = [this.#input.subarray(0, size), this.#input.subarray(size)];
      this.#input = rest;
      const unique = message.readBigUInt64LE(8);
      if (unique === 0n) this.notices.push({ kind: message.readInt32LE(4), body: message.subarray(answerHeadBytes) });
      this.#waiting.get(unique)?.({ errno: Math.abs(message.readInt32LE(4)), body: message.subarray(answerHeadBytes) });
      this.#waiting.delete(unique);
    }
  }
}
