/**
 * One HTTP exchange of the image worker.
 *
 * Over node:http(s), not undici: a pull is a short-lived process, and loading undici costs more
 * than twice as long as loading these (docs/adr/0040-layer-images.md).
 */
import { lookup as dnsLookup, type LookupAddress } from 'node:dns';
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import { rootCertificates } from 'node:tls';
import { HuskError } from '../../base/errors.ts';
import { mayReach, type Reach } from '../net-rules.ts';
import type { JobHost } from './protocol.ts';

/** An answer whose body is still to be read; `body.destroy()` gives it up. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: IncomingMessage;
}

/** A request. */
export interface Exchange {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Connections under one set of rules: TLS settings of a host, and the addresses that may be reached. */
export class HttpClient {
  readonly #plain: HttpAgent;
  readonly #tls: HttpsAgent;
  readonly #idleMs: number;

  /** @param host whose TLS settings apply; undefined for hosts that nobody configured */
  constructor(host: JobHost | undefined, reach: Reach, idleMs: number) {
    const common = { keepAlive: true, maxSockets: 8, lookup: guardedLookup(reach) };
    const client = host?.client[0];
    this.#plain = new HttpAgent(common);
    this.#tls = new HttpsAgent({
      ...common,
      rejectUnauthorized: host?.skipVerify !== true,
      ...(host === undefined || host.ca.length === 0 ? {} : { ca: [...rootCertificates, ...host.ca] }),
      ...(client === undefined ? {} : { cert: client[0], key: client[1] }),
    });
    this.#idleMs = idleMs;
  }

  /**
   * Sends a request and returns when the headers of the answer are there.
   * @throws HuskError `unavailable` for anything that keeps the answer away
   */
  async send(exchange: Exchange, signal: AbortSignal): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const { url } = exchange;
    const isTls = url.protocol === 'https:';
    const send = isTls ? httpsRequest : httpRequest;
    const request: ClientRequest = send(url, {
      method: exchange.method,
      headers: { 'user-agent': 'husk', ...exchange.headers },
      agent: isTls ? this.#tls : this.#plain,
      // Bounds every silence, also between the chunks of a body.
      timeout: this.#idleMs,
      signal,
      maxHeaderSize: 65_536,
    });
    request.on('response', (body) => resolve({ status: body.statusCode ?? 0, headers: body.headers, body }));
    request.on('timeout', () => request.destroy(silence(url, this.#idleMs)));
    request.on('error', (caught) => reject(signal.aborted ? signal.reason : connectionError(url, caught)));
    request.end(exchange.body);
    return await promise;
  }

  close(): void {
    this.#plain.destroy();
    this.#tls.destroy();
  }
}

/**
 * Reads a body of at most `max` bytes.
 * @throws HuskError `invalid-argument` when it is longer, `unavailable` when it breaks off
 */
export async function readBody(answer: Answer, max: number, what: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > max) throw new HuskError('invalid-argument', `read ${what}: longer than ${max} bytes`);
      chunks.push(chunk);
    }
  } catch (caught) {
    if (caught instanceof HuskError) throw caught;
    throw new HuskError('unavailable', `read ${what}: the connection broke`, { cause: caught, stage: 'registry' });
  }
  return Buffer.concat(chunks);
}

/** Looks names up and refuses addresses out of reach, at the moment of connecting: a second look could differ. */
function guardedLookup(reach: Reach): LookupFunction {
  return (hostname, options, callback) => {
    dnsLookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      if (error !== null) return callback(error, '', 0);
      const bad = addresses.find((each) => !mayReach(reach, each.address));
      if (bad !== undefined) {
        const refused = new HuskError('permission-denied', `connect to "${hostname}": ${bad.address} is out of bounds`);
        return callback(refused, '', 0);
      }
      if (options.all === true) return callback(null, addresses);
      callback(null, addresses[0]?.address ?? '', addresses[0]?.family ?? 0);
    });
  };
}

function silence(url: URL, ms: number): HuskError {
  return new HuskError('unavailable', `wait for "${url.host}": nothing came for ${ms} ms`, { stage: 'registry' });
}

function connectionError(url: URL, caught: unknown): HuskError {
  if (caught instanceof HuskError) return caught;
  const code = caught instanceof Error && 'code' in caught ? String(caught.code) : '';
  const hint = code === 'EPROTO' || code === 'ERR_SSL_WRONG_VERSION_NUMBER';
  return new HuskError('unavailable', `connect to registry "${url.host}": no answer`, {
    cause: caught,
    stage: 'registry',
    ...(hint ? { hint: `if it speaks plain HTTP, say so in certs.d/${url.host}/hosts.toml` } : {}),
  });
}
