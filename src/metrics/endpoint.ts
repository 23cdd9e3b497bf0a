/** `GET /metrics` on loopback, for Prometheus and for the benchmarks. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { HuskError } from '../base/errors.ts';
import { exposition, type MetricFamily } from './exposition.ts';

export interface MetricsEndpoint extends AsyncDisposable {
  /** `HOST:PORT` that it listens on. */
  readonly address: string;
}

/** A page is some kilobytes; whoever does not take it in this time is cut off. */
const requestMs = 10_000;
const maxConnections = 8;

/**
 * Serves the metrics until it is closed.
 *
 * @param address `IP:PORT` of loopback; port 0: any free one
 * @throws HuskError `invalid-argument` for another address: what it tells is not for the network
 */
export async function serveMetrics(address: string, families: () => readonly MetricFamily[]): Promise<MetricsEndpoint> {
  const { host, port } = parseLoopback(address);
  const server = createServer({ requestTimeout: requestMs, headersTimeout: requestMs }, (request, response) => {
    request.resume();
    if (request.method !== 'GET' || request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(exposition(families()));
  });
  server.maxConnections = maxConnections;
  server.listen(port, host);
  await once(server, 'listening').catch((cause: unknown) => {
    throw new HuskError('unavailable', `serve metrics on "${address}": ${String(cause)}`, { cause });
  });
  const { port: bound } = server.address() as AddressInfo;
  return {
    address: `${host}:${bound}`,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      if (server.listening) await once(server, 'close');
    },
  };
}

function parseLoopback(address: string): { host: string; port: number } {
  const match = /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\]):(\d{1,5})$/.exec(address);
  if (match !== null) return { host: (match[1] ?? '').replaceAll(/[[\]]/g, ''), port: Number(match[2]) };
  throw new HuskError(
    'invalid-argument',
    `metrics address "${address}": must be an IP address of loopback and a port`,
    {
      hint: 'for example 127.0.0.1:9099; let an agent of the node carry them on',
    },
  );
}
