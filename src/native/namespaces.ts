/** IPC and UTS namespaces that live without a process, bound to files. */
import { open, rm, statfs } from 'node:fs/promises';
import { isErrno } from '../base/errors.ts';
import { run } from '../base/exec.ts';
import { unmountBelow } from './mounts.ts';

/** Type of a mounted namespace file: NSFS_MAGIC of linux/magic.h. */
const nsfsMagic = 0x6e736673;
const timeoutMs = 10_000;

export interface NamespaceWish {
  /** File to bind the IPC namespace to; undefined: the host's. */
  readonly ipc: string | undefined;
  /** The same for UTS. */
  readonly uts: string | undefined;
  readonly hostname: string;
}

/** Makes the namespaces in one process, which sets the hostname and ends. */
export async function createNamespaces({ ipc, uts, hostname }: NamespaceWish, signal: AbortSignal): Promise<void> {
  const flags: string[] = [];
  for (const [name, path] of [['ipc', ipc] as const, ['uts', uts] as const]) {
    if (path === undefined) continue;
    await (await open(path, 'wx', 0o444)).close();
    flags.push(`--${name}=${path}`);
  }
  if (flags.length === 0) return;
  const work = uts === undefined ? ['true'] : ['hostname', '--', hostname];
  await run('unshare', [...flags, ...work], { timeoutMs, signal, stage: 'namespaces' });
}

/** Lets go of a namespace; absent is fine. Processes in it keep it alive. */
export async function removeNamespace(path: string): Promise<void> {
  await unmountBelow(path);
  await rm(path, { force: true });
}

/** Whether a namespace stands at the path. */
export async function isNamespace(path: string): Promise<boolean> {
  try {
    return (await statfs(path)).type === nsfsMagic;
  } catch (caught) {
    if (isErrno(caught, 'ENOENT')) return false;
    throw caught;
  }
}

/**
 * Sets sysctls in the pod's namespaces. Which names belong to them was checked with the request.
 *
 * @param paths namespace files to enter
 */
export async function setSysctls(
  sysctls: Readonly<Record<string, string>>,
  paths: { readonly net: string | undefined; readonly ipc: string | undefined },
  signal: AbortSignal,
): Promise<void> {
  const entries = Object.entries(sysctls);
  if (entries.length === 0) return;
  const enter = [
    ...(paths.net === undefined ? [] : [`--net=${paths.net}`]),
    ...(paths.ipc === undefined ? [] : [`--ipc=${paths.ipc}`]),
  ];
  const settings = entries.map(([name, value]) => `${name}=${value}`);
  await run('nsenter', [...enter, 'sysctl', '--quiet', '--write', '--', ...settings], {
    timeoutMs,
    signal,
    stage: 'sysctls',
  });
}
