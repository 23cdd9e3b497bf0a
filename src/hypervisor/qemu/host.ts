/** What every launch on this host shares. */
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { type JailFile, type JailSpec, jailFiles } from '../../jail/launcher.ts';
import type { VmConfig, VmRef } from '../hypervisor.ts';
import { type ArgvSpec, fileFds, qemuArgv } from './argv.ts';
import type { GuestImage } from './guest-image.ts';
import type { RuntimeRoot } from './runtime-root.ts';

export interface QemuOptions {
  /** The host's QEMU, e.g. `/usr/bin/qemu-system-x86_64`. */
  readonly qemu: string;
  /** Paths of the compiled C programs. */
  readonly programs: { readonly jail: string; readonly sendfd: string; readonly memfd: string };
  /** Folder with manifest.json, vmlinux, initrd.img and root.img. */
  readonly guestImageFolder: string;
  /** Keeps runtime roots, templates and formatted disks; made 0700; on a file system that takes sparse files of 1 TiB. */
  readonly dataFolder: string;
  /** For things that end with the machine; made 0711, because the template's agent socket lies in it. */
  readonly runFolder: string;
  readonly accel: 'auto' | 'kvm' | 'tcg';
  /** False: every VM is a cold boot. */
  readonly template: boolean;
  /** A uid that only the template's VM and the accelerator's probe run as. */
  readonly templateUid: number;
  readonly agentSocketUid: number;
  /** Makes real agent calls over the socket, so that a clone finds everything loaded; then disconnects. */
  readonly warm: (agentSocket: string, signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

export interface QemuHost {
  readonly options: QemuOptions;
  readonly root: RuntimeRoot;
  readonly guest: GuestImage;
  readonly accelerator: 'kvm' | 'tcg';
  readonly zeroFile: string;
}

/** The argument that a VM's processes are known by. */
export const processName = (id: string): string => `husk-${id}`;

type Launch = Pick<
  VmConfig,
  'id' | 'vcpus' | 'memoryMiB' | 'uid' | 'netnsPath' | 'cgroupPaths' | 'stateFolder' | 'agentSocketUid' | 'oomScoreAdj'
> & { readonly maxFileBytes: number };

/** The argument vector of a VM on this host. */
export function argvOn(
  host: Pick<QemuHost, 'accelerator' | 'guest'>,
  spec: Omit<ArgvSpec, 'accelerator' | 'cmdline'>,
): [string, ...string[]] {
  return qemuArgv({ ...spec, accelerator: host.accelerator, cmdline: host.guest.cmdline });
}

/** What the jail is asked for. @param disk the pod's disk to be made; absent for a template */
export function jailSpec(
  host: QemuHost,
  launch: Launch,
  mode: ArgvSpec['mode'],
  disk: { readonly path: string; readonly source: string } | undefined,
): JailSpec {
  const { vcpus, memoryMiB } = launch;
  const files: JailFile[] = [{ fd: fileFds.root, path: host.guest.root }];
  if (mode !== 'clone') {
    files.push({ fd: fileFds.kernel, path: host.guest.kernel });
    files.push({ fd: fileFds.initrd, path: host.guest.initrd });
  }
  return {
    stateFolder: launch.stateFolder,
    root: host.root.path,
    uid: launch.uid,
    agentSocketUid: launch.agentSocketUid,
    netns: launch.netnsPath,
    cgroupPaths: launch.cgroupPaths,
    oomScoreAdj: launch.oomScoreAdj,
    maxFileBytes: launch.maxFileBytes,
    kvm: host.accelerator === 'kvm',
    files,
    ...(disk === undefined ? {} : { disk: { fd: fileFds.data, ...disk } }),
    command: argvOn(host, { name: processName(launch.id), vcpus, memoryMiB, mode }),
  };
}

/** How the VM is found again. */
export function vmRef(
  config: { readonly id: string; readonly stateFolder: string },
  process: { readonly pid: number; readonly startTicks: string },
  origin: VmRef['origin'],
): VmRef {
  const at = (name: string): string => join(config.stateFolder, name);
  return {
    id: config.id,
    pid: process.pid,
    startTicks: process.startTicks,
    qmpSocket: at(jailFiles.qmpSocket),
    agentSocket: at(jailFiles.agentSocket),
    fdSocket: at(jailFiles.fdSocket),
    consoleLog: at('console.log'),
    origin,
  };
}
