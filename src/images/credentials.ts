import type { RegistryHost } from './hosts.ts';
import type { RegistryAuth } from './image-store.ts';

/** What kubelets and docker logins write for Docker Hub. */
const dockerHub: ReadonlySet<string> = new Set([
  'docker.io',
  'index.docker.io',
  'registry-1.docker.io',
  'registry.docker.io',
]);

/**
 * Whether a pull's credentials are for a host. Those of no stated registry are for the image's
 * own; a mirror gets them only when they name the mirror.
 */
export function areFor(auth: RegistryAuth, host: RegistryHost, registry: string): boolean {
  const endpoint = new URL(host.endpoint).host;
  const server = serverHost(auth.serverAddress ?? '');
  if (server === '') return host.origin;
  return isSameRegistry(server, endpoint) || (host.origin && isSameRegistry(server, registry));
}

function serverHost(address: string): string {
  return address
    .replace(/^[a-z]+:\/\//i, '')
    .replace(/\/.*$/, '')
    .toLowerCase();
}

function isSameRegistry(a: string, b: string): boolean {
  return a === b.toLowerCase() || (dockerHub.has(a) && dockerHub.has(b.toLowerCase()));
}
