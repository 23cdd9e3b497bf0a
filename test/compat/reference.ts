/** The reference: runC run by hand on a root file system, with a config.json that no code of husk wrote. */
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../src/base/exec.ts';
import type { OciSpec } from '../../src/oci/runtime-spec.ts';
import type { CompatCase } from './case.ts';
import { type Facts, parseFacts, probeScript } from './probe.ts';

const runMs = 60_000;

/** The capabilities that container users know as the default, in the kernel's order. */
const usual = [
  ...[
    'CHOWN',
    'DAC_OVERRIDE',
    'FOWNER',
    'FSETID',
    'KILL',
    'SETGID',
    'SETUID',
    'SETPCAP',
    'NET_BIND_SERVICE',
    'NET_RAW',
  ],
  ...['SYS_CHROOT', 'MKNOD', 'AUDIT_WRITE', 'SETFCAP'],
].map((name) => `CAP_${name}`);

/** What a container gets that asks for nothing, written by hand after the runtime spec and what a kubelet's node gives. */
export function baseSpec(etc: string): OciSpec {
  const file = (name: string, target: string) => ({
    destination: target,
    type: 'bind',
    source: join(etc, name),
    options: ['rbind', 'rprivate', 'rw'],
  });
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: 0, gid: 0, additionalGids: [0] },
      args: ['/bin/sh', '-c', probeScript],
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOSTNAME=compat'],
      cwd: '/',
      capabilities: { bounding: usual, effective: usual, permitted: usual, inheritable: [], ambient: [] },
      rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: hardFileLimit() }],
      noNewPrivileges: false,
      oomScoreAdj: 0,
    },
    root: { path: 'rootfs', readonly: false },
    hostname: 'compat',
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
      },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
      },
      { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      {
        destination: '/sys/fs/cgroup',
        type: 'cgroup',
        source: 'cgroup',
        options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'],
      },
      {
        destination: '/dev/shm',
        type: 'tmpfs',
        source: 'shm',
        options: ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k'],
      },
      file('hostname', '/etc/hostname'),
      file('resolv.conf', '/etc/resolv.conf'),
    ],
    annotations: {},
    linux: {
      namespaces: (['pid', 'ipc', 'uts', 'mount', 'network', 'cgroup'] as const).map((type) => ({ type })),
      cgroupsPath: '',
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      maskedPaths: [
        ...['acpi', 'asound', 'interrupts', 'kcore', 'keys', 'latency_stats', 'sched_debug', 'scsi', 'timer_list'].map(
          (name) => `/proc/${name}`,
        ),
        ...['/proc/timer_stats', '/sys/devices/virtual/powercap', '/sys/firmware'],
      ],
      readonlyPaths: ['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'].map((name) => `/proc/${name}`),
    },
  };
}

/** 524288, as everywhere, but where the node may not raise its own limit (no CAP_SYS_RESOURCE). */
function hardFileLimit(): number {
  const line = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  return Math.min(Number(line?.[1]), 524_288);
}

export interface Reference {
  observe(test: CompatCase): Promise<Facts>;
  close(): Promise<void>;
}

/**
 * Makes a root file system of the layer and runs cases on it, each on an overlay of its own.
 *
 * @param layer a tar stream
 */
export async function openReference(layer: Buffer): Promise<Reference> {
  const folder = await mkdtemp(join(tmpdir(), 'husk-compat-'));
  const close = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    await mkdir(join(folder, 'lower'));
    await mkdir(join(folder, 'etc'));
    await writeFile(join(folder, 'etc/hostname'), 'compat\n');
    await writeFile(join(folder, 'etc/resolv.conf'), 'nameserver 192.0.2.1\n');
    await writeFile(join(folder, 'layer.tar'), layer);
    await run('tar', ['-C', join(folder, 'lower'), '-xf', join(folder, 'layer.tar')], { timeoutMs: runMs });
  } catch (caught) {
    await close();
    throw caught;
  }
  let count = 0;
  return {
    close,
    async observe(test) {
      count += 1;
      const bundle = join(folder, `case-${count}`);
      const id = `husk-compat-${process.pid}-${count}`;
      await mkdir(join(bundle, 'rootfs'), { recursive: true });
      await mkdir(join(bundle, 'upper'));
      await mkdir(join(bundle, 'work'));
      const spec = baseSpec(join(folder, 'etc'));
      spec.linux.cgroupsPath = `/${id}`;
      test.reference(spec);
      await writeFile(join(bundle, 'config.json'), JSON.stringify(spec));
      const options = `lowerdir=${folder}/lower,upperdir=${bundle}/upper,workdir=${bundle}/work`;
      await run('mount', ['-t', 'overlay', '-o', options, 'overlay', join(bundle, 'rootfs')], { timeoutMs: runMs });
      try {
        return parseFacts(await runContainer(bundle, id, spec.process.terminal));
      } finally {
        await run('umount', [join(bundle, 'rootfs')], { timeoutMs: runMs });
      }
    },
  };
}

/** Runs to the end. A terminal comes from script(1), which gives runC one of its own. */
async function runContainer(bundle: string, id: string, terminal: boolean): Promise<string> {
  const root = join(bundle, 'state');
  const words = ['--root', root, 'run', '--bundle', bundle, id];
  if (!terminal) return await run('runc', words, { timeoutMs: runMs });
  return await run('script', ['-qec', ['runc', ...words].join(' '), '/dev/null'], { timeoutMs: runMs });
}
