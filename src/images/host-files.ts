import { readdir, readFile } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { HuskError, isErrno } from '../base/errors.ts';
import { hostFolderNames, originHost, parseHostsToml, type RegistryHost } from './hosts.ts';

/**
 * The hosts to ask for a registry's images, in order, with certificates read in.
 *
 * @param folder the operator's `certs.d`; undefined or absent: the registry itself
 * @throws HuskError `failed-precondition` when a file is there but cannot be used
 */
export async function loadHosts(folder: string | undefined, registry: string): Promise<RegistryHost[]> {
  for (const name of folder === undefined ? [] : hostFolderNames(registry)) {
    const hosts = await loadFolder(join(folder ?? '', name), registry);
    if (hosts !== undefined) return hosts;
  }
  return [originHost(registry)];
}

async function loadFolder(folder: string, registry: string): Promise<RegistryHost[] | undefined> {
  const names = await readdir(folder).catch((caught: unknown) => {
    if (isErrno(caught, 'ENOENT') || isErrno(caught, 'ENOTDIR')) return undefined;
    throw unreadable(folder, caught);
  });
  if (names === undefined) return undefined;
  const hosts = names.includes('hosts.toml')
    ? parseHostsToml(await readText(join(folder, 'hosts.toml')), registry)
    : dockerStyle(names, registry);
  return Promise.all(hosts.map((host) => withCertificates(folder, host)));
}

/** Docker's older layout: every `*.crt` is an authority, `x.cert` and `x.key` a client pair. */
function dockerStyle(names: readonly string[], registry: string): RegistryHost[] {
  const pairs = names
    .filter((name) => name.endsWith('.cert'))
    .map((name) => [name, name.replace(/cert$/, 'key')] as const);
  return [{ ...originHost(registry), ca: names.filter((name) => name.endsWith('.crt')), client: pairs }];
}

async function withCertificates(folder: string, host: RegistryHost): Promise<RegistryHost> {
  const read = (path: string): Promise<string> => readText(isAbsolute(path) ? path : join(folder, path));
  const ca = await Promise.all(host.ca.map(read));
  const client = await Promise.all(
    host.client.map(async ([cert, key]) => [await read(cert), await read(key)] as const),
  );
  return { ...host, ca, client };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (caught) {
    throw unreadable(path, caught);
  }
}

function unreadable(path: string, cause: unknown): HuskError {
  return new HuskError('failed-precondition', `read "${path}": cannot be read`, { cause, stage: 'registry-config' });
}
