/** A client of the agent's own server, for the rehearsal: what it asks takes the way of a call of the host. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { HuskError } from '../../../src/base/errors.ts';
import { encodeHeaders, HeaderDecoder } from './hpack.ts';
import { flags, frame, frameHead, preface, types } from './session.ts';

/** The part of grpc-js's MethodDefinition that is used here. */
export interface OwnMethod<Request> {
  readonly path: string;
  readonly requestSerialize: (request: Request) => Buffer;
}

const messageHead = 5;

export class OwnClient {
  readonly #socket: Socket;
  readonly #decoder = new HeaderDecoder();
  readonly #ended = new Map<number, (outcome: HuskError | undefined) => void>();
  #input: Buffer = Buffer.alloc(0);
  #lastStream = -1;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (bytes: Buffer) => this.#read(bytes));
    const lost = (): void => this.#endAll(new HuskError('unavailable', 'own client: the connection has ended'));
    socket.on('error', lost).on('close', lost);
    socket.write(Buffer.concat([Buffer.from(preface), frame(types.settings, 0, 0, Buffer.alloc(0))]));
  }

  /** @throws Error when nobody listens there */
  static async connect(path: string): Promise<OwnClient> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new OwnClient(socket);
  }

  /**
   * Makes a call with one message and waits for its end; what comes back is not looked at.
   * @throws HuskError `internal` with the status of a call that failed, `unavailable`
   */
  async call<Request>(method: OwnMethod<Request>, request: Request): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const settle = (outcome: HuskError | undefined): void => (outcome === undefined ? resolve() : reject(outcome));
    this.#ended.set(this.#open(method, request, flags.endStream), settle);
    await promise;
  }

  /** Begins a call that goes on until the connection ends. */
  begin<Request>(method: OwnMethod<Request>, request: Request): void {
    this.#open(method, request, 0);
  }

  close(): void {
    this.#socket.destroy();
  }

  #open<Request>({ path, requestSerialize }: OwnMethod<Request>, request: Request, ends: number): number {
    this.#lastStream += 2;
    const headers = [
      [':method', 'POST'],
      [':scheme', 'http'],
      [':authority', 'agent'],
      [':path', path],
      ['content-type', 'application/grpc'],
      ['te', 'trailers'],
    ] as const;
    const body = requestSerialize(request);
    const head = Buffer.alloc(messageHead);
    head.writeUInt32BE(body.length, 1);
    this.#socket.write(frame(types.headers, flags.endHeaders, this.#lastStream, encodeHeaders(headers)));
    this.#socket.write(frame(types.data, ends, this.#lastStream, Buffer.concat([head, body])));
    return this.#lastStream;
  }

  #read(bytes: Buffer): void {
    this.#input = Buffer.concat([this.#input, bytes]);
    while (this.#input.length >= frameHead) {
      const end = frameHead + this.#input.readUIntBE(0, 3);
      if (this.#input.length < end) return;
      const [type, flag, stream] = [this.#input[3], this.#input[4] ?? 0, this.#input.readUInt32BE(5)];
      const body = this.#input.subarray(frameHead, end);
      this.#input = this.#input.subarray(end);
      if (type === types.headers) this.#headers(stream, body, (flag & flags.endStream) !== 0);
    }
  }

  #headers(stream: number, block: Buffer, last: boolean): void {
    const headers = this.#decoder.decode(block);
    if (!last) return;
    const code = headers.get('grpc-status');
    const text = `own call: status ${code}: ${headers.get('grpc-message') ?? ''}`;
    this.#ended.get(stream)?.(code === '0' ? undefined : new HuskError('internal', text));
    this.#ended.delete(stream);
  }

  #endAll(error: HuskError): void {
    for (const settle of this.#ended.values()) settle(error);
    this.#ended.clear();
  }
}
