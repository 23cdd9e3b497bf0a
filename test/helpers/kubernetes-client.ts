/** The WebSocket client of @kubernetes/client-node at a URL of CRI: what an API server stands between otherwise. */
import { PassThrough, type Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { Attach, Exec, KubeConfig, type V1Status } from '@kubernetes/client-node';
import { WebSocketHandler } from '@kubernetes/client-node/dist/web-socket-handler.js';
import { WebSocket } from 'ws';

export interface ClientResult {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** The v4 status object. */
  readonly status: V1Status;
}

export interface ClientWish {
  readonly stdin?: Readable;
  readonly stderr?: boolean;
  readonly tty?: boolean;
  /** PEM of who signed the server's certificate. */
  readonly ca?: string;
}

/** A configuration and a handler for a server that is there under one URL alone. */
function handlerFor(url: string, ca: string | undefined): { config: KubeConfig; handler: WebSocketHandler } {
  const config = new KubeConfig();
  config.loadFromClusterAndUser(
    { name: 'husk', server: 'https://unused.invalid', skipTLSVerify: false },
    { name: 'nobody' },
  );
  const open = (_uri: string, protocols: string[]): WebSocket =>
    new WebSocket(url.replace(/^http/, 'ws'), protocols, ca === undefined ? {} : { ca });
  return { config, handler: new WebSocketHandler(config, open) };
}

/** Runs the command of the URL to its end. */
export async function clientExec(url: string, wish: ClientWish = {}): Promise<ClientResult> {
  const { config, handler } = handlerFor(url, wish.ca);
  const { promise, resolve, reject } = Promise.withResolvers<V1Status>();
  const stdout = wish.tty === true ? new Screen() : new PassThrough();
  const stderr = wish.stderr === true ? new PassThrough() : null;
  const read = Promise.all([buffer(stdout), stderr === null ? Buffer.alloc(0) : buffer(stderr)]);
  const exec = new Exec(config, handler);
  const { stdin = null, tty = false } = wish;
  const connection = await exec.exec('ns', 'pod', 'container', ['unused'], stdout, stderr, stdin, tty, resolve);
  connection.on('close', () => reject(new Error('the connection ended before the status')));
  const status = await promise;
  const [out, err] = await read;
  return { stdout: out, stderr: err, status };
}

/** Joins the container of the URL; what it writes comes out of the stream. */
export async function clientAttach(url: string, stdin: Readable): Promise<{ stdout: Readable; close(): void }> {
  const { config, handler } = handlerFor(url, undefined);
  const stdout = new PassThrough();
  const attach = new Attach(config, handler);
  const connection = await attach.attach('namespace', 'pod', 'container', stdout, null, stdin, false);
  return { stdout, close: () => connection.terminate() };
}

/** A terminal of 91 columns and 27 rows, as far as the client looks. */
class Screen extends PassThrough {
  readonly columns = 91;
  readonly rows = 27;
}
