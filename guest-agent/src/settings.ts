/** Where things are in the guest. Tests use other places. */
export interface Settings {
  /** UNIX socket that the relay connects to. */
  readonly socketPath: string;
  /** UNIX socket of husk-streams. */
  readonly streamsSocket: string;
  /** FIFO in which PID 1 reports the wait status of every orphan it reaps. */
  readonly exitsFifo: string;
  /** Folder on a tmpfs for everything the agent makes. */
  readonly stateDir: string;
  /** The OCI runtime: runc, or crun, which takes the same arguments. */
  readonly runtimePath: string;
  readonly sysPath: string;
  /** Starts processes in containers in the place of `runc exec`; absent, the runtime does it itself. */
  readonly execPath?: string | undefined;
  readonly pausePath: string;
  /** husk-shift, which gives files to the ids of a user namespace. */
  readonly shiftPath: string;
  /** husk-files, which mounts the file server. */
  readonly filesPath: string;
  /** File with the version of the guest image. */
  readonly imageVersionFile: string;
  /** Mount point of cgroup v2. */
  readonly cgroupRoot: string;
  /** Folder of the guest's own /etc files that change: hostname, machine-id, resolv.conf. */
  readonly etcDir: string;
  /** Where the file server is mounted, in place of `share` in `stateDir`: of a pod that is only rehearsed. */
  readonly shareFolder?: string | undefined;
  /** The VM is to become a template: what takes time is done now. */
  readonly template: boolean;
  /** The block device; by default found by its virtio serial `layers`. */
  readonly disks?: { readonly layers: string };
}

/** The places of the guest image. */
export const guestSettings: Settings = {
  socketPath: '/run/husk/agent.sock',
  streamsSocket: '/run/husk/streams.sock',
  exitsFifo: '/run/husk/exits',
  stateDir: '/run/husk',
  runtimePath: '/usr/bin/runc',
  sysPath: '/usr/lib/husk/husk-sys',
  execPath: '/usr/lib/husk/husk-exec',
  pausePath: '/usr/lib/husk/husk-pause',
  shiftPath: '/usr/lib/husk/husk-shift',
  filesPath: '/usr/lib/husk/husk-files',
  imageVersionFile: '/usr/lib/husk/image',
  cgroupRoot: '/sys/fs/cgroup',
  etcDir: '/run/etc',
  template: false,
};

const runtimePaths: ReadonlyMap<string, string> = new Map([
  ['runc', '/usr/bin/runc'],
  ['crun', '/usr/bin/crun'],
]);

/**
 * Reads the settings that the kernel's command line can change: `husk.template`, `husk.oci_runtime=crun`.
 * An unknown runtime leaves the default, as nothing can be answered this early.
 */
export function withCommandLine(settings: Settings, commandLine: string): Settings {
  const template = /(?:^|\s)husk\.template(?:\s|$)/.test(commandLine);
  const name = /(?:^|\s)husk\.oci_runtime=(\S+)/.exec(commandLine)?.[1] ?? '';
  const runtimePath = runtimePaths.get(name);
  if (runtimePath === undefined || runtimePath === settings.runtimePath) return { ...settings, template };
  // Only runC's way to start a process is known to husk-exec.
  return { ...settings, template, runtimePath, execPath: undefined };
}
