/** The differences that are meant, each with its reason. */
import type { Exception } from './compare.ts';

const podFiles =
  'husk mounts the files that it makes for the pod without set-uid bits, devices or programs, and read-only under a read-only root';

const hardened = /^\w+ r[ow],nosuid,nodev,noexec,relatime$/;

const kernel = 'the kernel of the guest has it, where the kernel of this machine has not';

export const exceptions: readonly Exception[] = [
  { runtime: 'both', key: /^mount\/\/etc\/(hostname|resolv\.conf)$/, seen: hardened, reason: podFiles },
  {
    runtime: 'native',
    key: /^mount\/\/etc\/hosts$/,
    seen: hardened,
    reason: 'a pod has an /etc/hosts, as other runtimes and the kubelet give one; the config.json by hand has none',
  },
  {
    runtime: 'both',
    key: /^mount\/\/(etc|tmp)?$/,
    seen: /^overlay r[ow],(nosuid,)?nodev,relatime$/,
    reason:
      'the root of a container that is not privileged is mounted nodev, and nosuid under no-new-privileges (ADR 0080); so is what is bound from it read-only',
  },
  {
    runtime: 'vm',
    key: /^mount\/\/proc\/sys\/kernel\/random\/boot_id$/,
    seen: /^tmpfs ro,nosuid,nodev,noexec,relatime$/,
    reason: 'the kernels of all clones have the template’s boot id; containers see one of their own',
  },
  {
    runtime: 'vm',
    key: /^mount\/\/sys\/fs\/cgroup(\/|$)/,
    seen: /^(cgroup2 ro,nosuid,nodev,noexec,relatime)?$/,
    sometimes: true,
    reason: 'the guest has cgroup v2, whatever the machine has',
  },
  {
    runtime: 'vm',
    key: /^cgroup\/memory$/,
    seen: /^(max|\d+)$/,
    sometimes: true,
    reason: 'cgroup v2 says "max" for no limit',
  },
  {
    runtime: 'vm',
    key: /^mount\/\/proc\/(kcore|sysrq-trigger)$/,
    seen: /^(tmpfs|proc) r[ow],/,
    sometimes: true,
    reason: kernel,
  },
  {
    runtime: 'vm',
    key: /^device\/core$/,
    seen: /^l/,
    sometimes: true,
    reason: `runC links it to /proc/kcore: ${kernel}`,
  },
  {
    runtime: 'vm',
    key: /^read\/\/sys\/firmware$/,
    seen: /^\d+$/,
    sometimes: true,
    reason: 'where it is not masked: the firmware is that of the virtual machine',
  },
  {
    runtime: 'vm',
    key: /^limit\/Max (pending signals|processes)$/,
    seen: /^(\d+) \1 (signals|processes)$/,
    reason: 'the kernel takes it from the memory that there is: the guest’s',
  },
  {
    runtime: 'vm',
    key: /^limit\/Max open files$/,
    seen: /^1024 524288 files$/,
    sometimes: true,
    reason: 'this machine may not raise its own limit (no CAP_SYS_RESOURCE), the guest may',
  },
  {
    runtime: 'vm',
    key: /^status\/Cap(Bnd|Eff|Prm)$/,
    // All that Linux 6.1 has, with and without CAP_MKNOD.
    seen: /^000001fff[7f]ffffff$/,
    sometimes: true,
    reason:
      'all capabilities are all that runC itself has: this machine withholds some (CAP_SYS_RESOURCE), the guest none',
  },
];
