import { HuskError } from '../../base/errors.ts';
import { asText, parseObject } from '../json.ts';
import { judgeRealm, type Reach, redirectProblem } from '../net-rules.ts';
import { parseChallenge } from './challenge.ts';
import { HttpClient, readBody } from './http.ts';
import type { Credentials, JobHost } from './protocol.ts';

const maxTokenBytes = 1024 * 1024;

/** What a token is asked for. */
export interface TokenScope {
  readonly repository: string;
  readonly trustedRealms: readonly string[];
  readonly reach: Reach;
  readonly idleMs: number;
}

/** The Authorization header to begin with: only a token that the caller brought. */
export function firstAuthorization(credentials: Credentials | undefined): string | undefined {
  return credentials?.registryToken ? `Bearer ${credentials.registryToken}` : undefined;
}

/**
 * Answers a 401: the Authorization header to try next.
 *
 * @throws HuskError `permission-denied` when there is nothing to answer with, or when the registry
 *   names a token server that must not see the credentials
 */
export async function authorize(
  host: JobHost,
  header: string,
  scope: TokenScope,
  signal: AbortSignal,
): Promise<string> {
  const challenge = parseChallenge(header);
  if (challenge?.scheme === 'basic') {
    if (!host.credentials?.username) throw denied(host, 'it wants a user name and a password');
    return basic(host.credentials);
  }
  if (challenge === undefined) throw denied(host, 'it wants a kind of login that husk does not know');
  const url = URL.parse(challenge.realm);
  if (url === null) throw denied(host, 'it names no valid token server');
  const verdict = judgeRealm(new URL(host.endpoint), url, scope.trustedRealms);
  if (verdict === 'refused') throw denied(host, `it names the token server "${url.host}" without TLS`);
  if (verdict === 'without-credentials' && hasSecret(host.credentials)) {
    throw denied(host, `it wants the credentials sent to "${url.host}"`, 'name it among the trusted token servers');
  }
  const sameHost = url.host === new URL(host.endpoint).host;
  const reach = sameHost ? { loopback: true, linkLocal: true } : scope.reach;
  const problem = redirectProblem(url, url, reach);
  if (problem !== undefined) throw denied(host, `its token server is refused: ${problem}`);
  return `Bearer ${await fetchToken(host, { url, service: challenge.service, reach }, scope, signal)}`;
}

interface TokenServer {
  readonly url: URL;
  readonly service: string;
  readonly reach: Reach;
}

async function fetchToken(host: JobHost, server: TokenServer, scope: TokenScope, signal: AbortSignal): Promise<string> {
  const { url } = server;
  const parameters = new URLSearchParams({ scope: `repository:${scope.repository}:pull` });
  if (server.service !== '') parameters.set('service', server.service);
  const identity = host.credentials?.identityToken;
  const client = new HttpClient(
    url.host === new URL(host.endpoint).host ? host : undefined,
    server.reach,
    scope.idleMs,
  );
  try {
    const answer = identity
      ? await client.send(refreshRequest(url, parameters, identity), signal)
      : await client.send({ method: 'GET', url: withQuery(url, parameters), headers: loginHeader(host) }, signal);
    if (answer.status !== 200) {
      answer.body.destroy();
      const isRefusal = answer.status >= 400 && answer.status < 500 && answer.status !== 429;
      throw new HuskError(
        isRefusal ? 'permission-denied' : 'unavailable',
        `get token of "${url.host}": HTTP ${answer.status}`,
        {
          stage: 'registry-login',
        },
      );
    }
    const body = parseObject('token', (await readBody(answer, maxTokenBytes, 'token')).toString('utf8'));
    const token = asText('token', body['token'] ?? body['access_token'], 65_536);
    if (!/^[\x21-\x7e]+$/.test(token)) throw denied(host, `"${url.host}" gave no token`);
    return token;
  } finally {
    client.close();
  }
}

/** An identity token is a refresh token of OAuth 2. */
function refreshRequest(
  url: URL,
  parameters: URLSearchParams,
  token: string,
): { method: 'POST'; url: URL; headers: Record<string, string>; body: string } {
  const form = new URLSearchParams([
    ...parameters,
    ['grant_type', 'refresh_token'],
    ['refresh_token', token],
    ['client_id', 'husk'],
  ]);
  return {
    method: 'POST',
    url,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: form.toString(),
  };
}

function withQuery(url: URL, parameters: URLSearchParams): URL {
  const result = new URL(url);
  for (const [key, value] of parameters) result.searchParams.set(key, value);
  return result;
}

function loginHeader(host: JobHost): Record<string, string> {
  return host.credentials?.username ? { authorization: basic(host.credentials) } : {};
}

function basic(credentials: Credentials): string {
  const pair = `${credentials.username ?? ''}:${credentials.password ?? ''}`;
  return `Basic ${Buffer.from(pair, 'utf8').toString('base64')}`;
}

function hasSecret(credentials: Credentials | undefined): boolean {
  return Boolean(credentials?.username || credentials?.identityToken);
}

function denied(host: JobHost, reason: string, hint?: string): HuskError {
  return new HuskError('permission-denied', `log in to registry "${new URL(host.endpoint).host}": ${reason}`, {
    stage: 'registry-login',
    ...(hint === undefined ? {} : { hint }),
  });
}
