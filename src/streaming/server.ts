/** The server that `kubectl exec`, `attach` and `port-forward` end at: upgrades, tickets, nothing of pods. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, STATUS_CODES } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import type { Clock } from '../base/clock.ts';
import { describeError, HuskError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { portForwardOverSpdy } from './portforward/over-spdy.ts';
import { commandOverSpdy } from './remotecommand/over-spdy.ts';
import { commandOverWebSocket } from './remotecommand/over-websocket.ts';
import type { ExecTarget, StreamingRuntime } from './streaming-runtime.ts';
import { TokenCache } from './token-cache.ts';
import { type Choice, chooseProtocol, parsePath } from './upgrade.ts';

/** One message of a client; kubectl's are 32 KiB. Fragments count together (CVE-2026-62389). */
const maxMessageBytes = 1024 * 1024;
/** As the reference server has it. */
const idleMs = 4 * 60 * 60 * 1000;
const headersMs = 30_000;
/** Two for each ticket in flight, and as many again that run. */
const maxConnections = 4000;

type Ticket =
  | { readonly route: 'exec' | 'attach'; readonly target: ExecTarget }
  | { readonly route: 'portforward'; readonly sandboxId: string };

interface Issued {
  readonly ticket: Ticket;
  readonly runtime: StreamingRuntime;
}

export interface StreamingServerOptions {
  readonly runtime: StreamingRuntime;
  /** Loopback, unless the operator asked for something else. */
  readonly address: string;
  /** 0: any free port. */
  readonly port: number;
  /** PEM texts; absent: plain HTTP. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** How long a client may take for its request, in milliseconds; for tests. */
  readonly headersMs?: number;
}

export interface StreamingServer {
  /**
   * URL for the client, good once and for a minute.
   * @param runtime who serves this client, if not the server's own
   * @throws HuskError `resource-exhausted`
   */
  url(ticket: Ticket, runtime?: StreamingRuntime): string;
  /** Scheme, host and port of its URLs. */
  readonly address: string;
  close(): Promise<void>;
}

/** Starts to listen. */
export async function startStreamingServer(options: StreamingServerOptions): Promise<StreamingServer> {
  const tickets = new TokenCache<Issued>(options.clock);
  const connections = new Set<Duplex>();
  const patienceMs = options.headersMs ?? headersMs;
  const limits = {
    requestTimeout: patienceMs,
    headersTimeout: patienceMs,
    connectionsCheckingInterval: Math.min(patienceMs, 5_000),
  };
  const http = options.tls === undefined ? createServer(limits) : createTlsServer({ ...limits, ...options.tls });
  http.maxConnections = maxConnections;
  http.on('request', (request, response) => {
    const known = parsePath(request.url ?? '') !== undefined;
    response.writeHead(known ? 400 : 404, { 'content-type': 'text/plain', connection: 'close' });
    response.end(known ? 'an upgrade to SPDY/3.1 or websocket is required\n' : 'not found\n');
  });
  http.on('clientError', (_error, socket) => socket.destroy());
  http.on('upgrade', (request, socket, head) => {
    socket.on('error', () => socket.destroy());
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    serveUpgrade(tickets, { request, socket, head }).catch((caught: unknown) => {
      options.log.info({ error: describeError(caught) }, 'stream ended');
      socket.destroy();
    });
  });
  http.listen(options.port, options.address);
  await once(http, 'listening');
  const { port } = http.address() as AddressInfo;
  const host = options.address.includes(':') ? `[${options.address}]` : options.address;
  const address = `${options.tls === undefined ? 'http' : 'https'}://${host}:${port}`;
  return {
    address,
    url: (ticket, runtime = options.runtime) => `${address}/${ticket.route}/${tickets.insert({ ticket, runtime })}`,
    close: () => closeServer(http, connections),
  };
}

interface Upgrade {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
}

async function serveUpgrade(tickets: TokenCache<Issued>, upgrade: Upgrade): Promise<void> {
  const { request, socket, head } = upgrade;
  const path = parsePath(request.url ?? '');
  const issued = path === undefined ? undefined : tickets.consume(path.token);
  if (path === undefined || issued === undefined || issued.ticket.route !== path.route)
    return refuse(socket, 404, 'unknown, used or expired token');
  const { ticket, runtime } = issued;
  const choice = chooseProtocol(path.route, request.headers);
  if ('refused' in choice) return refuse(socket, choice.refused, choice.message, choice.accepted);
  if ('setTimeout' in socket && typeof socket.setTimeout === 'function')
    socket.setTimeout(idleMs, () => socket.destroy());
  if (choice.transport === 'websocket') return serveWebSocket(runtime, ticket, upgrade, choice);
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${choice.protocol}\r\n\r\n`,
  );
  if (head.length > 0) socket.unshift(head);
  if (ticket.route === 'portforward') return portForwardOverSpdy(runtime, ticket.sandboxId, socket);
  return commandOverSpdy(runtime, { kind: ticket.route, target: ticket.target }, socket, choice.version);
}

async function serveWebSocket(
  runtime: StreamingRuntime,
  ticket: Ticket,
  { request, socket, head }: Upgrade,
  choice: Extract<Choice, { transport: 'websocket' }>,
): Promise<void> {
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: maxMessageBytes,
    autoPong: false,
    handleProtocols: () => choice.protocol || false,
  });
  if (choice.tunnel) {
    // A `/` is no token character, so ws refuses the name of the tunnel: it is taken out and answered by hand.
    delete request.headers['sec-websocket-protocol'];
    server.on('headers', (lines) => void lines.push(`Sec-WebSocket-Protocol: ${choice.protocol}`));
  }
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
  socket.once('close', () =>
    reject(new HuskError('cancelled', 'upgrade to websocket: the client is gone', { stage: 'streaming' })),
  );
  server.handleUpgrade(request, socket, head, resolve);
  const webSocket = await promise;
  // By hand: the answers to a client that pings and does not read would pile up.
  webSocket.on('ping', (data) => {
    if (webSocket.bufferedAmount < maxMessageBytes) webSocket.pong(data);
  });
  if (ticket.route !== 'portforward') {
    return commandOverWebSocket(runtime, { kind: ticket.route, target: ticket.target }, webSocket, choice);
  }
  return portForwardOverSpdy(runtime, ticket.sandboxId, createWebSocketStream(webSocket));
}

function refuse(socket: Duplex, code: number, message: string, accepted: readonly string[] = []): void {
  const lines = [
    `HTTP/1.1 ${code} ${STATUS_CODES[code]}`,
    'Connection: close',
    'Content-Type: text/plain',
    `Content-Length: ${Buffer.byteLength(message) + 1}`,
    ...accepted.map((protocol) => `X-Accepted-Stream-Protocol-Versions: ${protocol}`),
  ];
  socket.end(`${lines.join('\r\n')}\r\n\r\n${message}\n`);
}

async function closeServer(http: Server, connections: Set<Duplex>): Promise<void> {
  for (const connection of connections) connection.destroy();
  http.closeAllConnections();
  http.close();
  await once(http, 'close');
}

export type { Ticket };
