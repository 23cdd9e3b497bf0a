/** QEMU's argument vector. Pure: everything that QEMU opens is a descriptor with a fixed number. */
import { jailFds } from '../../jail/launcher.ts';

/** Descriptors of the files, after those of the jail. */
export const fileFds = { root: 9, data: 10, kernel: 11, initrd: 12 } as const;

/** Capacity that the guest sees of the layers and the data disk, whatever lies behind: 1 TiB. */
export const diskCapacityBytes = 2 ** 40;

/** The console's ring: QEMU wants a power of two. */
export const consoleBytes = 65_536;

/** Names of QEMU's objects that commands refer to. */
export const nodes = { layers: 'layers', console: 'console', volumes: 'volumes', network: 'net' } as const;

export interface ArgvSpec {
  /** An argument of the process that the sweep finds it by. */
  readonly name: string;
  readonly accelerator: 'kvm' | 'tcg';
  readonly vcpus: number;
  readonly memoryMiB: number;
  /**
   * `cold`: boots with memory of its own. `template`: boots on shared memory (descriptor 3).
   * `clone`: maps that memory privately and waits for the state (descriptor 4).
   */
  readonly mode: 'cold' | 'template' | 'clone';
  /** Kernel command line; a clone has its kernel in memory already. */
  readonly cmdline: string;
}

/** The program's place inside the jail's root. */
export const qemuProgram = '/usr/bin/qemu-system-x86_64';

/** The MAC address until the agent sets the pod's: locally administered, the same in every template. */
const placeholderMac = '52:54:00:68:75:73';

/** Builds the vector, program first. */
export function qemuArgv(spec: ArgvSpec): [string, ...string[]] {
  return [
    qemuProgram,
    ...bareMachine(spec),
    ...memory(spec),
    ...(spec.mode === 'clone' ? ['-incoming', 'defer'] : kernel(cmdlineFor(spec))),
    ...channels,
    ...ports(spec.accelerator),
    ...disks,
    ...['-netdev', `tap,id=${nodes.network},fd=${jailFds.tap}`],
    // guest_announce would crash QEMU 7.2 at the device's next reset, because a clone announces nothing:
    // with announce-rounds=0 the timer is freed on load and deleted once more on reset.
    ...['-device', `virtio-net-pci,netdev=${nodes.network},mac=${placeholderMac},guest_announce=off,romfile=,addr=0x6`],
    ...['-object', 'rng-random,id=rng,filename=/dev/urandom'],
    ...['-device', 'virtio-rng-pci,rng=rng,max-bytes=1024,period=1000,addr=0x7'],
    // A new identity in each process: the guest kernel reseeds its random numbers on it.
    ...['-device', 'vmgenid,guid=auto'],
  ];
}

/** A machine that boots a kernel and nothing else: shows whether an accelerator works. */
export function probeArgv(spec: Pick<ArgvSpec, 'name' | 'accelerator'>): [string, ...string[]] {
  const small = { ...spec, vcpus: 1, memoryMiB: 256, mode: 'cold' as const };
  const boot = ['-kernel', `/fd/${fileFds.kernel}`, '-append', 'console=ttyS0 panic=-1 root=/dev/null'];
  return [qemuProgram, ...bareMachine(small), ...memory(small), ...boot, ...channels];
}

function bareMachine(spec: Omit<ArgvSpec, 'cmdline'>): string[] {
  const { accelerator } = spec;
  const off = ['usb', 'vmport', 'smm', 'hpet', 'graphics', 'sata', 'smbus', 'i8042', 'dump-guest-core', 'mem-merge'];
  return [
    ...['-name', `guest=${spec.name},debug-threads=on`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-vga', 'none'],
    ...['-serial', 'none', '-parallel', 'none', '-monitor', 'none', '-L', '/share'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-machine', `q35,memory-backend=ram,${off.map((name) => `${name}=off`).join(',')}`],
    // Translated code, of which memory is taken as it fills. When it is full all of it is translated again:
    // 32 MiB hold no more than the agent's first answer, and doubled the processor time of a start (docs/adr/0060).
    ...['-accel', accelerator === 'tcg' ? 'tcg,tb-size=128' : 'kvm'],
    // With erms and fsrm the guest's kernel copies and clears memory by `rep movsb`, which QEMU emulates byte by
    // byte: a port then moves 85 instead of 350 MB for each second of CPU (docs/adr/0090-bulk-channel.md).
    ...['-cpu', accelerator === 'tcg' ? 'max,erms=off,fsrm=off' : 'host'],
    ...['-smp', String(spec.vcpus), '-m', String(spec.memoryMiB)],
    // The pool's 64 threads would count against the pod's limit of processes.
    ...['-object', 'main-loop,id=main-loop,thread-pool-max=16'],
    // A guest that ended stays as a stopped process until its console was read.
    ...['-action', 'panic=pause,shutdown=pause,reboot=shutdown'],
    ...['-msg', 'timestamp=on'],
  ];
}

function memory({ mode, memoryMiB }: Pick<ArgvSpec, 'mode' | 'memoryMiB'>): string[] {
  if (mode === 'cold') return ['-object', `memory-backend-ram,id=ram,size=${memoryMiB}M`];
  // The jail's /fd is the only path there is; a clone's descriptor is sealed.
  const share = mode === 'template' ? 'on' : 'off';
  return ['-object', `memory-backend-file,id=ram,size=${memoryMiB}M,mem-path=/fd/${jailFds.memory},share=${share}`];
}

function kernel(cmdline: string): string[] {
  return ['-kernel', `/fd/${fileFds.kernel}`, '-initrd', `/fd/${fileFds.initrd}`, '-append', cmdline];
}

/**
 * `husk.emulated` makes PID 1 start the agent in a way that suits an emulated processor. That has
 * no speculation of its own that a guest could use against itself, so its kernel's countermeasures only cost time.
 */
const emulatedCmdline = 'mitigations=off husk.emulated';

/** `husk.template` makes the agent do ahead what every clone would. */
function cmdlineFor({ accelerator, mode, cmdline }: Pick<ArgvSpec, 'accelerator' | 'mode' | 'cmdline'>): string {
  const words = [cmdline];
  if (accelerator === 'tcg') words.push(emulatedCmdline);
  if (mode === 'template') words.push('husk.template');
  return words.join(' ');
}

const channels = [
  ...['-chardev', `socket,id=qmp,fd=${jailFds.qmp},server=on,wait=off`, '-mon', 'chardev=qmp,mode=control'],
  ...['-chardev', `socket,id=fds,fd=${jailFds.fds},server=on,wait=off`, '-mon', 'chardev=fds,mode=control'],
  ...['-chardev', `ringbuf,id=${nodes.console},size=${consoleBytes}`],
  ...['-device', `isa-serial,id=serial0,chardev=${nodes.console}`],
];

function ports(accelerator: ArgvSpec['accelerator']): string[] {
  // Few ports: each has two queues in the device state. Under TCG the processor's own thread passes on what the guest
  // sends: waking another for it costs more, and the guest falls asleep meanwhile (docs/adr/0101-file-server.md).
  const device = `virtio-serial-pci,id=ports,max_ports=4,addr=0x2${accelerator === 'tcg' ? ',ioeventfd=off' : ''}`;
  return [
    ...['-chardev', `socket,id=agent,fd=${jailFds.agent},server=on,wait=off`, '-device', device],
    ...['-device', 'virtserialport,bus=ports.0,nr=1,chardev=agent,name=husk.agent.0'],
    // Bytes of exec, attach and port-forward: docs/adr/0090-bulk-channel.md.
    ...['-chardev', `socket,id=stream,fd=${jailFds.stream},server=on,wait=off`],
    ...['-device', 'virtserialport,bus=ports.0,nr=2,chardev=stream,name=husk.stream.0'],
    // Behind it a file server, where the pod has volumes of the host that are shared live.
    ...['-chardev', `socket,id=share,fd=${jailFds.share},server=on,wait=off`],
    ...['-device', 'virtserialport,bus=ports.0,nr=3,chardev=share,name=husk.files.0'],
  ];
}

const disks = [
  ...['-add-fd', `fd=${fileFds.root},set=1`, '-blockdev'],
  'driver=raw,node-name=root,read-only=on,file.driver=file,file.filename=/dev/fdset/1,file.locking=off',
  ...['-device', 'virtio-blk-pci,drive=root,serial=root,num-queues=1,addr=0x3'],
  '-blockdev',
  `driver=raw,node-name=${nodes.layers},read-only=on,file.driver=null-co,file.size=${diskCapacityBytes},file.read-zeroes=on`,
  ...['-device', `virtio-blk-pci,drive=${nodes.layers},serial=layers,num-queues=1,addr=0x4`],
  ...['-add-fd', `fd=${fileFds.data},set=2`, '-blockdev'],
  // What is on the disk ends with the VM: a guest's flush need not reach the host's disk.
  'driver=raw,node-name=data,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=/dev/fdset/2,' +
    'file.locking=off,file.discard=unmap,file.cache.no-flush=on',
  ...['-device', 'virtio-blk-pci,drive=data,serial=data,num-queues=1,addr=0x5'],
  // Volumes that are disks are plugged in here: docs/adr/0103-block-volumes.md.
  ...['-device', `virtio-scsi-pci,id=${nodes.volumes},num_queues=1,addr=0x8`],
];
