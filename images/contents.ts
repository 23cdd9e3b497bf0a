/** What the guest image holds. Everything here is part of the key of the build. */

/** The kernel: Debian's generic flavour of the stable series, whatever security release of it is current. */
export const kernelMetaPackage = 'linux-image-amd64';

/**
 * Fixed numbers that make two builds equal: the time stamp of every file (2026-01-01T00:00:00Z)
 * and the UUID of the root file system.
 */
export const sourceDateEpoch = 1_767_225_600;
export const rootUuid = '68757368-0000-4000-8000-726f6f740000';

/** Upper bound of vmlinux, initrd and root together, in bytes. */
export const maxImageBytes = 200 * 1024 * 1024;

/**
 * Modules that must be there to mount the root; they go into the initramfs. The kernel asks
 * for an implementation of crc32c by name, which depmod's hard dependencies do not show.
 */
export const initramfsModules = ['crc32c_generic', 'crc32c_intel', 'virtio_pci', 'virtio_blk', 'erofs'] as const;

/** Loaded by PID 1 from the root, so that they are part of every template. */
export const bootModules = [
  'virtio_console',
  'virtio_net',
  'virtio_rng',
  'ext4',
  'overlay',
  'squashfs',
  'fuse',
  'virtio_scsi',
  'sd_mod',
] as const;

/** Kept in the root and loaded by the kernel when something asks for them. */
export const onDemandModules = [
  'af_packet',
  'binfmt_misc',
  'br_netfilter',
  'bridge',
  'dummy',
  'ip6_tables',
  'ip_tables',
  'iptable_filter',
  'iptable_nat',
  'loop',
  'macvlan',
  'nf_tables',
  'nft_chain_nat',
  'nft_compat',
  'nft_ct',
  'nft_masq',
  'nft_nat',
  'nft_reject_inet',
  'nft_reject_ipv4',
  'nft_reject_ipv6',
  'sctp',
  'tun',
  'veth',
  'virtiofs',
  'vmw_vsock_virtio_transport',
  'vsock_loopback',
  'xt_MASQUERADE',
  'xt_addrtype',
  'xt_comment',
  'xt_conntrack',
  'xt_nat',
  'xt_tcpudp',
  'xfs',
] as const;

/** Programs of Debian packages, with the place they get in the image. */
export const debianPrograms = [
  { from: '/usr/sbin/runc', to: 'usr/bin/runc' },
  { from: '/usr/bin/crun', to: 'usr/bin/crun' },
  { from: '/bin/busybox', to: 'usr/bin/busybox' },
] as const;

/**
 * The kernel's command line.
 *
 * - `panic=-1`: a panic resets at once; QEMU runs with `-no-reboot`, so the VM ends and the
 *   console holds the reason. `loglevel=4` keeps warnings and worse on the console.
 * - `no_timer_check`, `tsc=nowatchdog`: the checks of timers against one another give wrong
 *   verdicts when the host is busy or emulates, and the guest would fall back to a slow clock.
 * - `nowatchdog`: a guest that gets no processor time is no lockup, and the watch wakes an idle one every four seconds.
 * - `8250.nr_uarts=1`: one port instead of four to probe. `i8042.*`: no keyboard to wait for.
 * - `cryptomgr.notests`, `audit=0`, `apparmor=0`: start-up work that nothing here uses.
 * - `lsm`: without it the kernel takes SELinux and TOMOYO up in AppArmor's place, without a policy: they forbid nothing, and
 *   every call of the kernel asks them. Landlock and Yama are what workloads find on a node.
 * - `random.trust_cpu=on`: the generator is ready at boot; every clone is reseeded by vmgenid
 *   and by 64 bytes from the host before it runs anything of a tenant.
 */
export const kernelCmdline = [
  'console=ttyS0',
  'loglevel=4',
  'panic=-1',
  'no_timer_check',
  'tsc=nowatchdog',
  'nowatchdog',
  '8250.nr_uarts=1',
  'i8042.noaux',
  'i8042.nokbd',
  'cryptomgr.notests',
  'audit=0',
  'apparmor=0',
  'lsm=landlock,yama',
  'random.trust_cpu=on',
  'net.ifnames=0',
].join(' ');

/** `<path below /proc/sys> <value>`, applied by PID 1. */
export const sysctls = [
  // An oops in the guest's kernel ends the VM: the host sees it, and a new one starts clean.
  'kernel/panic_on_oops 1',
  'kernel/dmesg_restrict 1',
  'kernel/kptr_restrict 1',
  'kernel/unprivileged_bpf_disabled 1',
  'kernel/sysrq 0',
  'kernel/core_pattern core',
  'kernel/pid_max 4194304',
  // Compaction ahead of need wakes an idle guest twice a second; huge pages are made when they are asked for.
  'vm/compaction_proactiveness 0',
  // What the kubelet sets on a node, and what workloads expect to find there.
  'vm/overcommit_memory 1',
  'vm/panic_on_oom 0',
  'kernel/keys/root_maxkeys 1000000',
  'kernel/keys/root_maxbytes 25000000',
  'fs/inotify/max_user_instances 8192',
  'fs/inotify/max_user_watches 524288',
  'fs/protected_hardlinks 1',
  'fs/protected_symlinks 1',
  'net/core/somaxconn 4096',
] as const;

/** Small files of the root: path, text. */
export const textFiles: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n',
  'etc/group': 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n',
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
  'etc/os-release': 'NAME="husk guest"\nID=husk\nPRETTY_NAME="husk guest image"\n',
  'usr/lib/husk/sysctl': `${sysctls.join('\n')}\n`,
};

/** Symbolic links of the root: path, target. What the agent writes lies in /run. */
export const symlinks: Readonly<Record<string, string>> = {
  bin: 'usr/bin',
  sbin: 'usr/sbin',
  lib: 'usr/lib',
  lib64: 'usr/lib64',
  'etc/hostname': '/run/etc/hostname',
  'etc/hosts': '/run/etc/hosts',
  'etc/machine-id': '/run/etc/machine-id',
  'etc/mtab': '/proc/self/mounts',
  'etc/resolv.conf': '/run/etc/resolv.conf',
  'var/run': '/run',
  'var/tmp': '/tmp',
};

/** Empty folders of the root: mount points and homes. */
export const folders = ['dev', 'proc', 'sys', 'run', 'tmp', 'root', 'mnt', 'var', 'usr/sbin', 'usr/bin'] as const;
