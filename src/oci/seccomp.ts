/** The `RuntimeDefault` seccomp profile: an allow-list, and everything else answers EPERM. */
import type { OciSeccomp, OciSyscallRule } from './runtime-spec.ts';
import { syscallsAllowed } from './seccomp-syscalls.ts';

const EPERM = 1;
const ENOSYS = 38;
/** AF_ALG: the kernel's crypto sockets, a repeated source of local kernel bugs. */
const AF_ALG = 38;
/** AF_VSOCK: the host's channel into a VM must not be reachable for tenants. */
const AF_VSOCK = 40;
/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (sched.h). */
const namespaceFlags = 0x7e02_0000;
/** The personalities that are harmless: Linux, Linux 32, 32-bit with short ino, and the query. */
const personalities = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/** Calls that a capability opens, so that granting it is enough. */
const byCapability: Readonly<Record<string, readonly string[]>> = {
  CAP_DAC_READ_SEARCH: ['open_by_handle_at'],
  CAP_SYS_ADMIN: [
    'bpf',
    'clone',
    'clone3',
    'fanotify_init',
    'fsconfig',
    'fsmount',
    'fsopen',
    'fspick',
    'lookup_dcookie',
    'mount',
    'mount_setattr',
    'move_mount',
    'open_tree',
    'perf_event_open',
    'quotactl',
    'quotactl_fd',
    'setdomainname',
    'sethostname',
    'setns',
    'syslog',
    'umount',
    'umount2',
    'unshare',
  ],
  CAP_SYS_BOOT: ['reboot'],
  CAP_SYS_CHROOT: ['chroot'],
  CAP_SYS_MODULE: ['delete_module', 'init_module', 'finit_module'],
  CAP_SYS_PACCT: ['acct'],
  CAP_SYS_PTRACE: ['kcmp', 'pidfd_getfd', 'process_madvise'],
  CAP_SYS_RAWIO: ['iopl', 'ioperm'],
  CAP_SYS_TIME: ['settimeofday', 'stime', 'clock_settime', 'clock_settime64'],
  CAP_SYS_TTY_CONFIG: ['vhangup'],
  CAP_SYS_NICE: ['get_mempolicy', 'mbind', 'set_mempolicy', 'set_mempolicy_home_node'],
  CAP_SYSLOG: ['syslog'],
  CAP_BPF: ['bpf'],
  CAP_PERFMON: ['perf_event_open'],
};

/**
 * The default profile for a process with these capabilities.
 *
 * @param capabilities full names, `CAP_SYS_ADMIN`
 */
export function defaultSeccompProfile(capabilities: readonly string[]): OciSeccomp {
  const opened = new Set(capabilities.flatMap((name) => byCapability[name] ?? []));
  const rules: OciSyscallRule[] = [
    { names: [...syscallsAllowed], action: 'SCMP_ACT_ALLOW' },
    ...personalities.map((value) => ({
      names: ['personality'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
    })),
    ...socketRules(),
  ];
  if (opened.size > 0) rules.push({ names: [...opened].sort(), action: 'SCMP_ACT_ALLOW' });
  if (!opened.has('clone')) {
    rules.push({
      names: ['clone'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value: namespaceFlags, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
    });
    // Its flags lie behind a pointer that a filter cannot read: ENOSYS sends libc back to clone.
    rules.push({ names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS });
  }
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: EPERM,
    architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
    syscalls: rules,
  };
}

/** `socket` for every family but two: ranges around the refused numbers, since rules of one call are OR-ed. */
function socketRules(): OciSyscallRule[] {
  const allow = (value: number, op: string): OciSyscallRule => ({
    names: ['socket'],
    action: 'SCMP_ACT_ALLOW',
    args: [{ index: 0, value, op }],
  });
  return [allow(AF_ALG, 'SCMP_CMP_LT'), allow(AF_ALG + 1, 'SCMP_CMP_EQ'), allow(AF_VSOCK, 'SCMP_CMP_GT')];
}
