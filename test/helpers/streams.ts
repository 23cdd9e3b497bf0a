/** Clients of the streaming server, as kubectl is one: SPDY by hand, and crictl where it was built. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { request as tlsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { dataHeader, encodeControl, FrameReader, rstStatus } from '../../src/streaming/spdy/frames.ts';
import { HeaderReader, HeaderWriter } from '../../src/streaming/spdy/header-block.ts';

/** One stream of a client. */
export interface ClientStream {
  readonly id: number;
  /** Settles with `fin`, `reset`, or `closed` when the connection went first. */
  readonly ended: Promise<'fin' | 'reset' | 'closed'>;
  /** Settles with the first byte, or the end. */
  readonly begun: Promise<void>;
  /** Bytes that came. */
  readonly bytes: number;
  /** Of all bytes, once it has ended. */
  sha(): string;
  /** The first mebibyte that came. */
  text(): string;
  write(data: Buffer | string): Promise<void>;
  end(): void;
  /** Wants no more of it, in either direction. */
  reset(): void;
}

export interface StreamClient {
  readonly protocol: string;
  readonly socket: Socket;
  open(headers: Record<string, string>, fin?: boolean): Promise<ClientStream>;
  readonly closed: Promise<void>;
  /** Reads nothing more, until the connection is closed. */
  hold(): void;
}

const keptBytes = 1024 * 1024;

/**
 * Upgrades to SPDY/3.1. Throws an error with the status code and the body when the server refuses.
 * @param ca PEM of who signed the server's certificate, for a URL with https
 */
export async function connectSpdy(url: string, protocols = 'v4.channel.k8s.io', ca?: string): Promise<StreamClient> {
  const headers = { Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': protocols };
  const wish = { method: 'POST', headers };
  const call = url.startsWith('https:') ? tlsRequest(url, { ...wish, ca }) : request(url, wish);
  const { promise, resolve, reject } = Promise.withResolvers<StreamClient>();
  call.on('upgrade', (response, socket, head) => {
    if (head.length > 0) socket.unshift(head);
    resolve(session(socket as Socket, String(response.headers['x-stream-protocol-version'])));
  });
  call.on('response', (response) => {
    response.resume();
    reject(new Error(`the server answered ${response.statusCode}`));
  });
  call.on('error', reject);
  call.end();
  return await promise;
}

class Stream implements ClientStream {
  readonly id: number;
  readonly replied = Promise.withResolvers<void>();
  readonly #begun = Promise.withResolvers<void>();
  readonly #end = Promise.withResolvers<'fin' | 'reset' | 'closed'>();
  readonly #socket: Socket;
  readonly #hash = createHash('sha256');
  readonly #kept: Buffer[] = [];
  bytes = 0;

  constructor(id: number, socket: Socket) {
    this.id = id;
    this.#socket = socket;
  }

  get begun(): Promise<void> {
    return this.#begun.promise;
  }

  get ended(): Promise<'fin' | 'reset' | 'closed'> {
    return this.#end.promise;
  }

  take(data: Buffer): void {
    if (this.bytes < keptBytes) this.#kept.push(data);
    if (data.length > 0) this.#begun.resolve();
    this.bytes += data.length;
    this.#hash.update(data);
  }

  finish(how: 'fin' | 'reset' | 'closed'): void {
    this.#begun.resolve();
    this.#end.resolve(how);
  }

  sha(): string {
    return this.#hash.copy().digest('hex');
  }

  text(): string {
    return Buffer.concat(this.#kept).toString();
  }

  async write(data: Buffer | string): Promise<void> {
    const bytes = Buffer.from(data as string);
    this.#socket.write(dataHeader(this.id, bytes.length, false));
    if (!this.#socket.write(bytes)) await once(this.#socket, 'drain');
  }

  end(): void {
    this.#socket.write(dataHeader(this.id, 0, true));
  }

  reset(): void {
    this.#socket.write(encodeControl({ type: 'rst-stream', streamId: this.id, status: rstStatus.cancel }));
  }
}

function session(socket: Socket, protocol: string): StreamClient {
  // Each stream that writes waits for the socket by itself.
  socket.setMaxListeners(0);
  const streams = new Map<number, Stream>();
  const writer = new HeaderWriter();
  let nextId = 1;
  let turn: Promise<unknown> = Promise.resolve();
  let held: Promise<unknown> | undefined;
  return {
    protocol,
    socket,
    closed: read(socket, streams, () => held).finally(() => writer.close()),
    hold() {
      held ??= new Promise((resolve) => socket.once('close', resolve));
    },
    async open(headers, fin = false) {
      const stream = new Stream(nextId, socket);
      nextId += 2;
      streams.set(stream.id, stream);
      // Header blocks depend on the ones before: one after the other.
      const written = turn.then(async () => {
        const block = await writer.write(new Map(Object.entries(headers)));
        const rest = { associatedId: 0, fin, unidirectional: false };
        socket.write(encodeControl({ type: 'syn-stream', streamId: stream.id, ...rest, block }));
      });
      turn = written;
      await written;
      await stream.replied.promise;
      return stream;
    },
  };
}

async function read(
  socket: Socket,
  streams: Map<number, Stream>,
  held: () => Promise<unknown> | undefined,
): Promise<void> {
  const frames = new FrameReader();
  const headers = new HeaderReader();
  try {
    for await (const chunk of socket) {
      await held();
      for (const frame of frames.push(chunk as Buffer)) {
        if (!('streamId' in frame)) continue;
        const stream = streams.get(frame.streamId);
        if (frame.type === 'syn-reply') {
          await headers.read(frame.block);
          stream?.replied.resolve();
        } else if (frame.type === 'rst-stream') stream?.finish('reset');
        else if (frame.type === 'data') {
          stream?.take(frame.data);
          if (frame.fin) stream?.finish('fin');
        }
      }
    }
  } catch {
    // The end of the connection is told by `closed`; the tests look at what arrived.
  } finally {
    headers.close();
    for (const stream of streams.values()) {
      stream.replied.resolve();
      stream.finish('closed');
    }
  }
}

/** A command that runs, or a container that was attached to. */
export interface RemoteCommand {
  readonly client: StreamClient;
  readonly stdin: ClientStream | undefined;
  readonly stdout: ClientStream | undefined;
  readonly stderr: ClientStream | undefined;
  readonly resize: ClientStream | undefined;
  /** The v4 status, when all is over. */
  status(): Promise<{ readonly status: string; readonly message?: string; readonly exitCode: number }>;
}

/** Joins a command, with the streams that were asked for in the request of the URL. */
export async function joinCommand(
  url: string,
  { tty, stdin, stdout, stderr }: { tty?: boolean; stdin?: boolean; stdout?: boolean; stderr?: boolean },
  ca?: string,
): Promise<RemoteCommand> {
  const client = await connectSpdy(url, undefined, ca);
  const open = (wanted: boolean | undefined, streamtype: string): Promise<ClientStream | undefined> =>
    wanted === true ? client.open({ streamtype }) : Promise.resolve(undefined);
  const error = await client.open({ streamtype: 'error' });
  const streams = {
    stdin: await open(stdin, 'stdin'),
    stdout: await open(stdout, 'stdout'),
    stderr: await open(stderr, 'stderr'),
    resize: await open(tty, 'resize'),
  };
  return {
    client,
    ...streams,
    status: async () => {
      await client.closed;
      const status = JSON.parse(error.text()) as {
        status: string;
        message?: string;
        details?: { causes: { message: string }[] };
      };
      return { ...status, exitCode: Number(status.details?.causes[0]?.message ?? 0) };
    },
  };
}

/** The crictl of cri-tools, where `make crictl` has built one. */
export function findCrictl(): string | undefined {
  const folder = join(import.meta.dirname, '../../build/bin');
  return ['v1.36', 'v1.37']
    .map((version) => join(folder, `cri-tools-${version}/crictl`))
    .find((path) => existsSync(path));
}

/** crictl against a daemon's socket, as words of a command line. */
export function crictlCommand(socket: string, args: readonly string[]): [program: string, ...args: string[]] {
  const program = findCrictl();
  if (program === undefined) throw new Error('crictl is not built: make crictl');
  return [program, '--runtime-endpoint', `unix://${socket}`, '--timeout', '60s', ...args];
}

/** Starts it. */
export function crictl(socket: string, args: readonly string[]): ChildProcess {
  const [program, ...rest] = crictlCommand(socket, args);
  return spawn(program, rest);
}

/** Runs crictl to its end. */
export async function runCrictl(
  socket: string,
  args: readonly string[],
  input?: Buffer,
): Promise<{ code: number; stdout: Buffer; stderr: string }> {
  const child = crictl(socket, args);
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input ?? Buffer.alloc(0));
  const exit = once(child, 'exit');
  const [stdout, stderr] = await Promise.all([child.stdout?.toArray(), child.stderr?.toArray()]);
  const [code] = await exit;
  return { code: Number(code), stdout: Buffer.concat(stdout ?? []), stderr: (stderr ?? []).join('') };
}
