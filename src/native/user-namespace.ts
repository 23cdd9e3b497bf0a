/** A native pod's user namespace, the namespaces that it owns, and mounts whose files do. */
import { chown, mkdir, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { run } from '../base/exec.ts';
import type { IdRange, UserNamespace } from '../pod/user-namespace.ts';
import type { PodPlaces } from './places.ts';
import { readPidFile } from './processes.ts';

const timeoutMs = 20_000;

export interface NamespacesWish {
  /** The compiled husk-userns. */
  readonly program: string;
  readonly namespace: UserNamespace;
  readonly hostname: string;
  readonly places: PodPlaces;
  /** File of the network namespace; the one that stands there is replaced. */
  readonly netnsPath: string;
}

/**
 * Makes them. Root of a user namespace may join and use only what that owns, so network, IPC and UTS
 * namespace are made anew in it.
 */
export async function holdNamespaces(wish: NamespacesWish, signal: AbortSignal): Promise<void> {
  const { program, namespace, hostname, places, netnsPath } = wish;
  const ranges = [rangeText(namespace.uids), rangeText(namespace.gids)];
  const files = [places.user, netnsPath, places.ipc, places.uts];
  await run(program, ['hold', ...ranges, hostname, ...files], { timeoutMs, signal, stage: 'namespaces' });
}

export interface MappedBind {
  /** Resolved: no link in it. */
  readonly source: string;
  readonly target: string;
  readonly access: 'rw' | 'ro' | 'rro';
  /** Mounts that the host makes below later are seen. */
  readonly slave?: boolean;
}

/**
 * Shows the source at the target, a folder or file that is made, with its files owned by the namespace.
 * @throws HuskError `internal` when a file system there cannot be mapped
 */
export async function bindMapped(
  program: string,
  { uids, gids }: UserNamespace,
  { source, target, access, slave = false }: MappedBind,
): Promise<void> {
  await mkdir(dirname(target), { recursive: true, mode: 0o711 });
  if ((await stat(source)).isDirectory()) await mkdir(target, { mode: 0o711 });
  else await writeFile(target, '', { flag: 'wx', mode: 0o600 });
  const how = [access, slave ? 'slave' : 'private'];
  await run(program, ['bind', source, target, rangeText(uids), rangeText(gids), ...how], { timeoutMs, stage: 'mount' });
}

/**
 * Gives conmon's pipes to the user of a container that was created and not started: a process may open /dev/stdout
 * again only when that is one of its namespace's own.
 *
 * @param pidFile of its first process, which is the OCI runtime's own until the start
 */
export async function ownStreams(
  pidFile: string,
  { uids, gids }: UserNamespace,
  user: { readonly uid: number; readonly gid: number },
): Promise<void> {
  const pid = await readPidFile(pidFile);
  for (const fd of [0, 1, 2]) {
    const path = `/proc/${pid}/fd/${fd}`;
    if ((await stat(path)).isFIFO()) await chown(path, uids.hostId + user.uid, gids.hostId + user.gid);
  }
}

function rangeText({ hostId, length }: IdRange): string {
  return `${hostId}:${length}`;
}
