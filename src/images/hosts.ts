/**
 * `certs.d/<host>/hosts.toml` in containerd's shape: which hosts serve the images of a registry.
 *
 * @see https://github.com/containerd/containerd/blob/main/docs/hosts.md
 */
import { parse as parseToml } from 'smol-toml';
import { HuskError } from '../base/errors.ts';
import { isLoopbackHost } from './net-rules.ts';

/** One host that serves a registry's images. */
export interface RegistryHost {
  /** Base of the API, e.g. `https://registry-1.docker.io/v2`, without a trailing slash. */
  readonly endpoint: string;
  /** Whether tags may be looked up here. */
  readonly resolve: boolean;
  /** Whether content may be fetched by digest here. */
  readonly pull: boolean;
  /** Accepts any TLS certificate. */
  readonly skipVerify: boolean;
  /** PEM texts of additional certificate authorities; in `parseHostsToml`'s result: their paths. */
  readonly ca: readonly string[];
  /** Client certificate and key, PEM; in `parseHostsToml`'s result: their paths. */
  readonly client: readonly (readonly [certificate: string, key: string])[];
  readonly header: Readonly<Record<string, string>>;
  /** Sent as `?ns=`, so that a mirror of several registries knows which is meant. */
  readonly namespace: string | undefined;
  /** The registry itself: the host that the image's own credentials are for. */
  readonly origin: boolean;
  /** Named by the operator, who may then point it at loopback or link-local addresses. */
  readonly configured: boolean;
}

/** The folders that may hold the configuration of a registry host, best first. */
export function hostFolderNames(host: string): string[] {
  const colon = /^(.*):([0-9]+)$/.exec(host);
  const escaped = colon === null ? [] : [`${colon[1]}_${colon[2]}_`];
  return [...escaped, host, '_default'];
}

/** The host of a registry that nobody configured: itself, in plain HTTP when it is this machine. */
export function originHost(registry: string): RegistryHost {
  const host = registry === 'docker.io' ? 'registry-1.docker.io' : registry;
  const scheme = isLoopbackHost(host.replace(/:[0-9]+$/, '')) && !host.endsWith(':443') ? 'http' : 'https';
  return {
    endpoint: `${scheme}://${host}/v2`,
    resolve: true,
    pull: true,
    skipVerify: false,
    ca: [],
    client: [],
    header: {},
    namespace: undefined,
    origin: true,
    configured: false,
  };
}

/**
 * Parses a `hosts.toml`: mirrors in the order of the file, then the server.
 *
 * @param registry the registry host that the file is for
 * @throws HuskError `failed-precondition` naming the key that is wrong
 */
export function parseHostsToml(text: string, registry: string): RegistryHost[] {
  const root = readToml(text, registry);
  const mirrors = Object.entries(table(root['host'], 'host')).map(([url, value]) =>
    hostFrom(url, table(value, `host."${url}"`), registry),
  );
  const server = root['server'];
  if (server === undefined) return [...mirrors, serverFrom(originHost(registry).endpoint, root, registry)];
  if (typeof server !== 'string') throw wrong('server', 'wanted a URL in quotes');
  return [...mirrors, serverFrom(server, root, registry)];
}

function serverFrom(url: string, root: Readonly<Record<string, unknown>>, registry: string): RegistryHost {
  // The top level of the file carries the options of the server itself.
  return { ...hostFrom(url, root, registry), namespace: undefined, origin: true };
}

function hostFrom(url: string, options: Readonly<Record<string, unknown>>, registry: string): RegistryHost {
  const endpoint = endpointOf(url, options['override_path'] === true);
  const capabilities = options['capabilities'] === undefined ? ['pull', 'resolve'] : strings(options, 'capabilities');
  const isRegistry = new URL(endpoint).host === new URL(originHost(registry).endpoint).host;
  return {
    endpoint,
    resolve: capabilities.includes('resolve'),
    pull: capabilities.includes('pull'),
    skipVerify: options['skip_verify'] === true,
    ca: options['ca'] === undefined ? [] : strings(options, 'ca'),
    client: clientPairs(options['client']),
    header: headers(options['header']),
    namespace: isRegistry ? undefined : registry,
    origin: isRegistry,
    configured: true,
  };
}

function endpointOf(text: string, overridePath: boolean): string {
  const url = URL.parse(/^[a-z]+:\/\//.test(text) ? text : `https://${text}`);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:') || url.search !== '' || url.hash !== '') {
    throw wrong(text, 'wanted an http or https URL');
  }
  if (url.username !== '' || url.password !== '') throw wrong(url.host, 'found credentials in the URL');
  const path = url.pathname.replace(/\/+$/, '');
  return `${url.origin}${overridePath || path.endsWith('/v2') ? path : `${path}/v2`}`;
}

function readToml(text: string, registry: string): Record<string, unknown> {
  try {
    return parseToml(text);
  } catch (caught) {
    throw new HuskError('failed-precondition', `read hosts.toml of "${registry}": not TOML`, {
      cause: caught,
      stage: 'registry-config',
    });
  }
}

function strings(options: Readonly<Record<string, unknown>>, key: string): string[] {
  const value = options[key];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.map((each) => {
    if (typeof each !== 'string') throw wrong(key, 'wanted a string or a list of strings');
    return each;
  });
}

function clientPairs(value: unknown): [string, string][] {
  if (value === undefined) return [];
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.map((each) => {
    if (typeof each === 'string') return [each, each];
    const [certificate, key] = Array.isArray(each) ? (each as unknown[]) : [];
    if (typeof certificate !== 'string' || typeof key !== 'string') {
      throw wrong('client', 'wanted a path, or pairs of certificate and key');
    }
    return [certificate, key];
  });
}

function headers(value: unknown): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [name, content] of Object.entries(table(value, 'header'))) {
    const text = Array.isArray(content) ? content.join(', ') : content;
    if (typeof text !== 'string' || /[\r\n\0]/.test(text) || !/^[A-Za-z0-9-]+$/.test(name)) {
      throw wrong(`header.${name}`, 'wanted a header name and a line of text');
    }
    result[name.toLowerCase()] = text;
  }
  return result;
}

function table(value: unknown, key: string): Record<string, unknown> {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(key, 'wanted a table');
  return value as Record<string, unknown>;
}

function wrong(key: string, reason: string): HuskError {
  return new HuskError('failed-precondition', `read hosts.toml, key "${key}": ${reason}`, {
    stage: 'registry-config',
  });
}
