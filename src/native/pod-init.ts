/** PID 1 of a PID namespace that a pod's containers share: the one case that needs a process. */
import { chmod, chown, copyFile, mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defaultMaskedPaths, defaultReadonlyPaths } from '../oci/default-paths.ts';
import type { OciSpec } from '../oci/runtime-spec.ts';
import { defaultSeccompProfile } from '../oci/seccomp.ts';
import { inUserNamespace } from '../oci/user-namespace.ts';
import type { UserNamespace } from '../pod/user-namespace.ts';
import { mount } from './mounts.ts';
import type { OciCli } from './oci-cli.ts';
import type { PodPlaces } from './places.ts';
import { isContainerProcess, readPidFile } from './processes.ts';

/** Nobody's id in any image; the process needs no rights at all. */
const initUid = 65_535;

export interface PodInitWish {
  readonly id: string;
  readonly places: PodPlaces;
  readonly program: string;
  readonly cgroupsPath: string;
  /** Namespaces of the pod, joined so that the process sees nothing of the host. */
  readonly namespaces: { readonly network?: string; readonly ipc?: string; readonly uts?: string };
  /** The pod's, where it has its own. */
  readonly userNamespace: UserNamespace | undefined;
}

/**
 * Starts it, locked up like a container without rights, since whoever may trace processes in the
 * namespace could take it over; then binds its PID namespace to a file.
 */
export async function startPodInit(runtime: OciCli, wish: PodInitWish): Promise<void> {
  const { places } = wish;
  const rootfs = join(places.init, 'rootfs');
  await mkdir(rootfs, { recursive: true, mode: 0o755 });
  await copyFile(wish.program, join(rootfs, 'init'));
  const { userNamespace } = wish;
  if (userNamespace !== undefined) {
    // The OCI runtime makes mount points in it as root of the namespace.
    await chmod(places.init, 0o711);
    await chown(rootfs, userNamespace.uids.hostId, userNamespace.gids.hostId);
  }
  const spec = initSpec(wish, rootfs);
  const placed = userNamespace === undefined ? spec : inUserNamespace(spec, userNamespace, places.user);
  await writeFile(join(places.init, 'config.json'), JSON.stringify(placed), { mode: 0o600 });
  const pidFile = join(places.init, 'pid');
  await runtime.runDetached(initId(wish.id), places.init, pidFile);
  const pid = await readPidFile(pidFile);
  await (await open(places.pid, 'wx', 0o444)).close();
  await mount({ source: `/proc/${pid}/ns/pid`, target: places.pid, options: ['bind'] });
}

/** Whether it still runs; without it no process can be started in the namespace. */
export async function podInitRuns(places: PodPlaces, id: string): Promise<boolean> {
  const pid = await readPidFile(join(places.init, 'pid'));
  return pid !== undefined && (await isContainerProcess(pid, initId(id)));
}

/** Its name for the OCI runtime. */
export function initId(sandboxId: string): string {
  return `init-${sandboxId}`;
}

function nobody(namespace: UserNamespace | undefined): { uid: number; gid: number } {
  const last = (length: number | undefined): number => Math.min(initUid, (length ?? initUid + 1) - 1);
  return { uid: last(namespace?.uids.length), gid: last(namespace?.gids.length) };
}

function initSpec(wish: PodInitWish, rootfs: string): OciSpec {
  const { network, ipc, uts } = wish.namespaces;
  const none: string[] = [];
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { ...nobody(wish.userNamespace), additionalGids: [] },
      args: ['/init'],
      env: [],
      cwd: '/',
      capabilities: { bounding: none, effective: none, permitted: none, inheritable: none, ambient: none },
      rlimits: [],
      noNewPrivileges: true,
    },
    root: { path: rootfs, readonly: true },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] }],
    annotations: {},
    linux: {
      namespaces: [
        { type: 'mount' },
        { type: 'pid' },
        { type: 'cgroup' },
        ...(network === undefined ? [] : [{ type: 'network' as const, path: network }]),
        ...(ipc === undefined ? [] : [{ type: 'ipc' as const, path: ipc }]),
        ...(uts === undefined ? [] : [{ type: 'uts' as const, path: uts }]),
      ],
      cgroupsPath: wish.cgroupsPath,
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      seccomp: defaultSeccompProfile([]),
      maskedPaths: [...defaultMaskedPaths],
      readonlyPaths: [...defaultReadonlyPaths],
    },
  };
}
