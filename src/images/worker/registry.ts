/** The registry protocol: one repository, on hosts that are asked in turn. */
import { createHash } from 'node:crypto';
import { sleep } from '../../base/deadline.ts';
import { HuskError } from '../../base/errors.ts';
import type { Digest } from '../../base/ids.ts';
import { acceptedManifests } from '../manifest.ts';
import { isLoopbackHost, type Reach, redirectProblem } from '../net-rules.ts';
import { authorize, firstAuthorization } from './auth.ts';
import { type Answer, HttpClient, readBody } from './http.ts';
import type { Job, JobHost } from './protocol.ts';

const maxRedirects = 5;
const firstRetryDelayMs = 200;
/** Retry-After is obeyed up to this. */
const maxRetryDelayMs = 5_000;

/** A manifest's bytes, and the digest they were checked against. */
export interface FetchedManifest {
  readonly text: string;
  readonly digest: Digest;
}

/** A host with its connections and its login. */
class Endpoint {
  readonly host: JobHost;
  readonly reach: Reach;
  readonly client: HttpClient;
  /** For hosts that redirects lead to: no TLS settings, no credentials, bounded reach. */
  readonly strangers: HttpClient;
  authorization: string | undefined;

  constructor(host: JobHost, idleMs: number) {
    this.host = host;
    const isLocal = isLoopbackHost(new URL(host.endpoint).hostname);
    this.reach = { loopback: isLocal, linkLocal: false };
    const own = host.configured ? { loopback: true, linkLocal: true } : { loopback: true, linkLocal: false };
    this.client = new HttpClient(host, own, idleMs);
    this.strangers = new HttpClient(undefined, this.reach, idleMs);
    this.authorization = firstAuthorization(host.credentials);
  }

  close(): void {
    this.client.close();
    this.strangers.close();
  }
}

/** Fetches manifests and blobs of the job's repository. */
export class RegistryClient {
  readonly #job: Job;
  readonly #endpoints: readonly Endpoint[];

  constructor(job: Job) {
    this.#job = job;
    this.#endpoints = job.hosts.map((host) => new Endpoint(host, job.limits.idleMs));
  }

  /**
   * A manifest by tag or digest, from the first host that has it.
   * @throws HuskError `not-found`, `permission-denied`, `unavailable`, `data-loss` for a wrong digest
   */
  async manifest(name: string, digest: Digest | undefined, signal: AbortSignal): Promise<FetchedManifest> {
    const endpoints = this.#endpoints.filter(({ host }) => (digest === undefined ? host.resolve : host.pull));
    return await firstOf(endpoints, async (endpoint) => {
      const answer = await this.#getPatiently(endpoint, `manifests/${name}`, signal);
      const bytes = await readBody(answer, this.#job.limits.manifestBytes, 'manifest');
      const found = `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
      if (digest !== undefined && found !== digest) throw wrongDigest('manifest', digest, found);
      return { text: bytes.toString('utf8'), digest: found };
    });
  }

  /** The bytes of a small blob. */
  async smallBlob(digest: Digest, size: number, signal: AbortSignal): Promise<Buffer> {
    return await firstOf(this.pullEndpoints(), async (endpoint) => {
      const answer = await this.#getPatiently(endpoint, `blobs/${digest}`, signal);
      const bytes = await readBody(answer, size, 'image config');
      const found = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
      if (found !== digest) throw wrongDigest('image config', digest, found);
      return bytes;
    });
  }

  /** Handles for `openBlob`, in the order to try. */
  pullEndpoints(): readonly Endpoint[] {
    return this.#endpoints.filter(({ host }) => host.pull);
  }

  /** Opens a blob at an offset; the caller reads or destroys the body. */
  async openBlob(endpoint: Endpoint, digest: Digest, offset: number, signal: AbortSignal): Promise<Answer> {
    const range: Record<string, string> = offset === 0 ? {} : { range: `bytes=${offset}-` };
    return await this.#get(endpoint, `blobs/${digest}`, range, signal);
  }

  close(): void {
    for (const endpoint of this.#endpoints) endpoint.close();
  }

  /** A GET that waits out storms of 429 and 5xx. */
  async #getPatiently(endpoint: Endpoint, path: string, signal: AbortSignal): Promise<Answer> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#get(endpoint, path, { accept: acceptedManifests.join(', ') }, signal);
      } catch (caught) {
        if (attempt >= 3 || !isWorthRetrying(caught)) throw caught;
        await sleep(retryDelayMs(attempt, caught), signal);
      }
    }
  }

  async #get(endpoint: Endpoint, path: string, extra: Record<string, string>, signal: AbortSignal): Promise<Answer> {
    const { host } = endpoint;
    const url = new URL(`${host.endpoint}/${this.#job.reference.repository}/${path}`);
    if (host.namespace !== undefined) url.searchParams.set('ns', host.namespace);
    let answer = await this.#follow(endpoint, url, extra, signal);
    if (answer.status === 401) {
      answer.body.destroy();
      const { limits, reference, trustedRealms } = this.#job;
      const scope = { repository: reference.repository, trustedRealms, reach: endpoint.reach, idleMs: limits.idleMs };
      endpoint.authorization = await authorize(host, answer.headers['www-authenticate'] ?? '', scope, signal);
      answer = await this.#follow(endpoint, url, extra, signal);
    }
    if (answer.status === 200 || answer.status === 206) return answer;
    answer.body.destroy();
    throw statusError(url, answer);
  }

  /** Follows redirects. Credentials go to the host itself and to nobody else. */
  async #follow(endpoint: Endpoint, start: URL, extra: Record<string, string>, signal: AbortSignal): Promise<Answer> {
    let url = start;
    for (let hops = 0; ; hops += 1) {
      const isOwn = url.origin === start.origin;
      const login = isOwn && endpoint.authorization !== undefined ? { authorization: endpoint.authorization } : {};
      const headers = { ...extra, ...(isOwn ? endpoint.host.header : {}), ...login };
      const client = isOwn ? endpoint.client : endpoint.strangers;
      const answer = await client.send({ method: 'GET', url, headers }, signal);
      const location = answer.headers.location;
      if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return answer;
      answer.body.destroy();
      const next = URL.parse(location, url);
      if (next === null || hops >= maxRedirects) throw refusedRedirect(url, next, 'too many, or not a URL');
      const problem = next.origin === start.origin ? undefined : redirectProblem(url, next, endpoint.reach);
      if (problem !== undefined) throw refusedRedirect(url, next, problem);
      url = next;
    }
  }
}

/** Asks one host after another; the last one's error counts, the others are its cause. */
async function firstOf<T>(endpoints: readonly Endpoint[], work: (endpoint: Endpoint) => Promise<T>): Promise<T> {
  const failures: HuskError[] = [];
  for (const endpoint of endpoints) {
    try {
      return await work(endpoint);
    } catch (caught) {
      const error = HuskError.from(caught, 'registry');
      if (error.kind === 'cancelled' || error.kind === 'deadline-exceeded') throw error;
      failures.push(error);
    }
  }
  throw combine(failures);
}

/** One error out of those of all hosts. */
export function combine(failures: readonly HuskError[]): HuskError {
  const last = failures.at(-1);
  if (last === undefined) {
    return new HuskError('failed-precondition', 'choose a registry host: hosts.toml allows none to be read');
  }
  if (failures.length === 1) return last;
  const others = failures.slice(0, -1).map((each) => each.message);
  return new HuskError(last.kind, `${last.message}; before that: ${others.join('; ')}`, {
    cause: last,
    stage: last.stage ?? 'registry',
    ...(last.hint === undefined ? {} : { hint: last.hint }),
  });
}

/** The error for bytes that are not what their digest says. */
export function wrongDigest(what: string, wanted: string, found: string): HuskError {
  return new HuskError('data-loss', `verify ${what} "${wanted}": its bytes give ${found}`, { stage: 'verify' });
}

/** Whether the same request can go better a moment later. */
export function isWorthRetrying(caught: unknown): boolean {
  return caught instanceof HuskError && caught.kind === 'unavailable';
}

/** The pause before the next attempt, in milliseconds: doubling, or what the registry asked for. */
export function retryDelayMs(attempt: number, caught?: unknown): number {
  const asked = /retry after (\d{1,5}) s/.exec(caught instanceof Error ? caught.message : '')?.[1];
  const wanted = asked === undefined ? firstRetryDelayMs * 2 ** (attempt - 1) : Number(asked) * 1000;
  return Math.min(wanted, maxRetryDelayMs);
}

function statusError(url: URL, answer: Answer): HuskError {
  const what = `get "${url.host}${url.pathname}"`;
  const { status } = answer;
  if (status === 404)
    return new HuskError('not-found', `${what}: the registry does not have it`, { stage: 'registry' });
  if (status === 401 || status === 403) {
    return new HuskError('permission-denied', `${what}: the registry refuses (HTTP ${status})`, { stage: 'registry' });
  }
  const after = answer.headers['retry-after'];
  const pause = after !== undefined && /^\d+$/.test(after) ? `, retry after ${after} s` : '';
  return new HuskError('unavailable', `${what}: HTTP ${status}${pause}`, { stage: 'registry' });
}

function refusedRedirect(from: URL, to: URL | null, reason: string): HuskError {
  return new HuskError('permission-denied', `follow "${from.host}" to "${to?.host ?? ''}": ${reason}`, {
    stage: 'registry-redirect',
  });
}
