/** A raw 9P2000.L client: says whatever a test wants, also what no kernel would. */
import { once } from 'node:events';
import type { Socket } from 'node:net';

/** Message types (Linux: include/net/9p/9p.h). */
export const t = {
  statfs: 8,
  lopen: 12,
  lcreate: 14,
  symlink: 16,
  mknod: 18,
  readlink: 22,
  getattr: 24,
  setattr: 26,
  xattrwalk: 30,
  xattrcreate: 32,
  readdir: 40,
  fsync: 50,
  lock: 52,
  link: 70,
  mkdir: 72,
  renameat: 74,
  unlinkat: 76,
  version: 100,
  attach: 104,
  flush: 108,
  walk: 110,
  read: 116,
  write: 118,
  clunk: 120,
} as const;
const rlerror = 7;

/** A field of a message: its width is part of it. */
export type Field = { readonly bytes: Buffer };
export const u8 = (value: number): Field => ({ bytes: Buffer.from([value]) });
export const u16 = (value: number): Field => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return { bytes };
};
export const u32 = (value: number): Field => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return { bytes };
};
export const u64 = (value: number | bigint): Field => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return { bytes };
};
export const text = (value: string | Buffer): Field => {
  const bytes = Buffer.from(value);
  return { bytes: Buffer.concat([u16(bytes.length).bytes, bytes]) };
};
export const raw = (bytes: Buffer): Field => ({ bytes });

/** What came back: the body, or the errno. */
export interface Answer {
  readonly errno: number;
  readonly body: Buffer;
}

export class NineP {
  readonly #socket: Socket;
  #input: Buffer = Buffer.alloc(0);
  #waiting: ((answer: Answer | undefined) => void)[] = [];
  #fids = 100;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('close', () => this.#waiting.splice(0).forEach((done) => done(undefined)));
    socket.on('error', () => undefined);
  }

  /** A number that no fid has. */
  fid(): number {
    this.#fids += 1;
    return this.#fids;
  }

  /** Sends and waits; undefined when the server has ended the session. */
  call(type: number, ...fields: readonly Field[]): Promise<Answer | undefined> {
    const body = Buffer.concat(fields.map(({ bytes }) => bytes));
    return this.send(Buffer.concat([u32(7 + body.length).bytes, u8(type).bytes, u16(1).bytes, body]));
  }

  /** Bytes as they are. */
  send(bytes: Buffer): Promise<Answer | undefined> {
    const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
    if (this.#socket.destroyed) resolve(undefined);
    else {
      this.#waiting.push(resolve);
      this.#socket.write(bytes);
    }
    return promise;
  }

  /** Version and attach; returns the root's fid. */
  async start(uid = 0, msize = 65_536): Promise<number> {
    await this.must(t.version, u32(msize), text('9P2000.L'));
    return this.attach(uid);
  }

  async attach(uid: number): Promise<number> {
    const fid = this.fid();
    await this.must(t.attach, u32(fid), u32(0xffff_ffff), text('root'), text('/'), u32(uid));
    return fid;
  }

  async must(type: number, ...fields: readonly Field[]): Promise<Buffer> {
    const answer = await this.call(type, ...fields);
    if (answer?.errno === 0) return answer.body;
    throw Object.assign(
      new Error(`9P message ${type}: ${answer === undefined ? 'session ended' : `errno ${answer.errno}`}`),
      {
        errno: answer?.errno,
      },
    );
  }

  /** Walks the names; the new fid. */
  async walk(from: number, ...names: readonly (string | Buffer)[]): Promise<number> {
    const fid = this.fid();
    const body = await this.must(t.walk, u32(from), u32(fid), u16(names.length), ...names.map(text));
    if (body.readUInt16LE(0) < names.length) throw Object.assign(new Error('walk: partial'), { errno: 2 });
    return fid;
  }

  async open(from: number, names: readonly string[], flags: number): Promise<number> {
    const fid = await this.walk(from, ...names);
    await this.must(t.lopen, u32(fid), u32(flags));
    return fid;
  }

  async create(folder: number, name: string, { flags = 0o102, mode = 0o644, gid = 0 } = {}): Promise<number> {
    const fid = await this.walk(folder);
    await this.must(t.lcreate, u32(fid), text(name), u32(flags), u32(mode), u32(gid));
    return fid;
  }

  async read(fid: number, offset: number, count: number): Promise<Buffer> {
    return (await this.must(t.read, u32(fid), u64(offset), u32(count))).subarray(4);
  }

  async write(fid: number, offset: number, bytes: Buffer): Promise<number> {
    return (await this.must(t.write, u32(fid), u64(offset), u32(bytes.length), raw(bytes))).readUInt32LE(0);
  }

  async clunk(fid: number): Promise<void> {
    await this.must(t.clunk, u32(fid));
  }

  /** Names of a folder, in the order they come. */
  async list(from: number, ...names: readonly string[]): Promise<string[]> {
    const fid = await this.open(from, names, 0o200000);
    const found: string[] = [];
    for (let offset = 0n; ; ) {
      const body = (await this.must(t.readdir, u32(fid), u64(offset), u32(4096))).subarray(4);
      if (body.length === 0) break;
      for (let at = 0; at < body.length; ) {
        offset = body.readBigUInt64LE(at + 13);
        const length = body.readUInt16LE(at + 22);
        found.push(body.subarray(at + 24, at + 24 + length).toString('latin1'));
        at += 24 + length;
      }
    }
    await this.clunk(fid);
    return found;
  }

  /** Ends the session and waits until the other side has. */
  async end(): Promise<void> {
    if (this.#socket.destroyed) return;
    const closed = once(this.#socket, 'close');
    this.#socket.destroy();
    await closed;
  }

  #read(chunk: Buffer): void {
    this.#input = Buffer.concat([this.#input, chunk]);
    while (this.#input.length >= 7 && this.#input.length >= this.#input.readUInt32LE(0)) {
      const size = this.#input.readUInt32LE(0);
      const message = this.#input.subarray(0, size);
      this.#input = this.#input.subarray(size);
      const body = message.subarray(7);
      const failed = message[4] === rlerror;
      this.#waiting.shift()?.({ errno: failed ? body.readUInt32LE(0) : 0, body: failed ? Buffer.alloc(0) : body });
    }
  }
}
