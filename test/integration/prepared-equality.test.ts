/**
 * A container that was prepared and became what was asked for is the same as one that runC made of
 * the spec: a probe as its first process tells all it sees, and the two are compared, for a table of specs.
 * Runs on this machine's runC, so that no emulation blurs it; in a guest test/integration/guest-agent.test.ts uses both.
 */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Created, createdByRuntime } from '../../guest-agent/src/created.ts';
import { ExecHelper } from '../../guest-agent/src/exec-helper.ts';
import { Exits } from '../../guest-agent/src/exits.ts';
import { FifoPool } from '../../guest-agent/src/fifos.ts';
import { ociRuntime } from '../../guest-agent/src/oci-runtime.ts';
import { type OutputStream, ringBytes } from '../../guest-agent/src/output-stream.ts';
import { Pod } from '../../guest-agent/src/pod.ts';
import { PreparedContainers } from '../../guest-agent/src/prepared/pool.ts';
import { guestSettings } from '../../guest-agent/src/settings.ts';
import { SysHelper } from '../../guest-agent/src/sys-helper.ts';
import { run } from '../../src/base/exec.ts';
import { silentLog } from '../../src/base/log.ts';
import { undoing } from '../../src/base/undo.ts';
import { ContainerConfig } from '../../src/gen/cri/v1/api.ts';
import { allCapabilities } from '../../src/oci/capabilities.ts';
import { completeSpec } from '../../src/oci/complete-spec.ts';
import type { OciSpec } from '../../src/oci/runtime-spec.ts';
import { buildSpec } from '../../src/oci/spec.ts';

const bin = join(import.meta.dirname, '../../build/bin');
const probeMs = 30_000;
const noStreams = { stdin: false, stdinOnce: false, tty: false };
/** Everything that the first process of a container can tell. */
const probe = `
grep -E '^(Umask|Uid|Gid|Groups|NoNewPrivs|Seccomp|Seccomp_filters|Speculation|Cap|Sig(Blk|Ign)|Shd|NSpid|Cpus_allowed_list)' /proc/1/status
cat /proc/1/oom_score_adj /proc/1/limits
for f in cwd root exe fd/0 fd/1 fd/2; do readlink /proc/1/$f; done
ls /proc/1/fd
exec 2>&1
cut -d' ' -f4- /proc/1/mountinfo | sort
tr '\\0' '\\n' < /proc/1/environ
tr '\\0' '\\n' < /proc/1/cmdline
sed 's/.*) //' /proc/1/stat | cut -d' ' -f2,3,4,16,17
stat -c '%n %A %u %g %t %T' / /* /data/* /dev/* /etc/* /new/folder 2>/dev/null
cat /etc/* 2>/dev/null
touch /written 2>&1; touch /dev/written 2>&1; echo x > /proc/sys/kernel/hostname
head -c 1 /proc/kcore 2>&1 | od -c
chroot / true 2>&1; mknod /tmp/n c 1 3 2>&1
echo the "end"`;

let folder: string;
let pod: Pod;
let helper: ExecHelper;
let sys: SysHelper;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'husk-prepared-'));
  chmodSync(folder, 0o755);
  for (const path of ['fifos', 'shm', 'c', 'volume']) mkdirSync(join(folder, path));
  helper = new ExecHelper(join(bin, 'husk-exec'));
  sys = new SysHelper(join(bin, 'husk-sys'));
  const settings = {
    ...guestSettings,
    stateDir: folder,
    execPath: join(bin, 'husk-exec'),
    runtimePath: '/usr/sbin/runc',
  };
  const fifos = new FifoPool(sys, join(folder, 'fifos'), silentLog);
  pod = new Pod({
    settings,
    sys,
    exits: new Exits(),
    fifos,
    runtime: ociRuntime('/usr/sbin/runc', folder, helper),
    log: failingLog,
  });
});
after(async () => {
  helper.close();
  sys.close();
  await rm(folder, { recursive: true, force: true });
});

/** `fill` never fails; here its complaint must not be lost. */
const failingLog = {
  ...silentLog,
  warn: (fields: object, text: string): void => {
    throw new Error(`${text}: ${JSON.stringify(fields)}`);
  },
};

/** A machine that is itself confined cannot hand on what it does not have. */
function isAllowedHere(name: string): boolean {
  const mask = /^CapBnd:\s+([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  return ((BigInt(`0x${mask}`) >> BigInt(allCapabilities.indexOf(name))) & 1n) === 1n;
}

interface Case {
  readonly config?: object;
  readonly user?: { uid: number; gid: number; supplementalGroups: number[]; home: string };
  readonly change?: (spec: OciSpec) => void;
  readonly root?: (path: string) => void;
}

const security = (context: object): object => ({
  linux: { securityContext: { seccomp: { profileType: 0 }, ...context } },
});
const capabilities = { addCapabilities: [], dropCapabilities: ['ALL'], addAmbientCapabilities: [] };

const cases: Readonly<Record<string, Case>> = {
  'the default of a pod': {},
  'no seccomp': { config: security({ seccomp: { profileType: 1 } }) },
  'no_new_privs with seccomp': { config: security({ noNewPrivs: true }) },
  'a user with groups': { user: { uid: 1000, gid: 1000, supplementalGroups: [1000, 6, 7], home: '/home/web' } },
  'no capabilities': { config: security({ capabilities, seccomp: { profileType: 1 } }) },
  'a read-only root': { config: security({ readonlyRootfs: true }) },
  'a working folder that is not there': { config: { workingDir: '/new/folder' } },
  'an oom score and limits': {
    change: ({ process }) => {
      process.oomScoreAdj = 500;
      process.rlimits.push({ type: 'RLIMIT_CORE', soft: 0, hard: 0 });
    },
  },
  'an environment with repeats': { change: ({ process }) => process.env.unshift('A=1', 'B=', 'A=2', 'SP= a b') },
  'volumes in folders, below /dev and as a file': {
    change: (spec) => {
      const bind = (source: string, destination: string, ...options: string[]): number =>
        spec.mounts.push({
          type: 'bind',
          source: join(folder, source),
          destination,
          options: ['rbind', 'rprivate', ...options],
        });
      bind('volume', '/data/deep', 'rw');
      bind('volume', '/data/locked', 'ro');
      bind('hostname', '/dev/termination-log', 'rw');
      bind('hostname', '/data/file', 'ro');
    },
  },
  'an image without folders for the kernel': {
    root: (path) => {
      for (const name of ['proc', 'sys', 'dev']) rmdirSync(join(path, name));
    },
  },
};

let count = 0;

async function makeRoot(change: Case['root']): Promise<string> {
  count += 1;
  const path = join(folder, `root-${count}`);
  for (const name of ['bin', 'tmp', 'proc', 'dev', 'sys', 'etc', 'work'])
    mkdirSync(join(path, name), { recursive: true });
  await copyFile('/bin/busybox', join(path, 'bin/busybox'));
  await run('chroot', [path, '/bin/busybox', '--install', '/bin'], { timeoutMs: 10_000 });
  change?.(path);
  return path;
}

function specOf(wanted: Case, id: string, rootfs: string): OciSpec {
  const config = ContainerConfig.fromPartial({
    metadata: { name: 'c', attempt: 0 },
    command: ['/bin/sh', '-c', probe],
    ...security({}),
    ...wanted.config,
  } as object);
  const image = { env: ['PATH=/bin'], workingDir: '', entrypoint: [], cmd: [] };
  const built = buildSpec({ containerId: id, config, image, hostname: 'h' });
  built.process.rlimits = [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 1024 }];
  wanted.change?.(built);
  for (const name of ['hostname', 'resolv.conf']) writeFileSync(join(folder, name), `${name}\n`);
  const user = wanted.user ?? { uid: 0, gid: 0, supplementalGroups: [0], home: '/root' };
  const files = { hostnameFile: join(folder, 'hostname'), resolvConfFile: join(folder, 'resolv.conf') };
  return completeSpec(built, { user, rootfs, ...files, shmFolder: join(folder, 'shm'), files: [] });
}

async function outputOf({ streams, start, release }: Created): Promise<string> {
  await start(Promise.withResolvers<void>().promise);
  const textOf = ({ ring }: OutputStream): string => ring.read(ring.start, ringBytes).data.toString();
  for (const until = performance.now() + probeMs; ; await sleep(5)) {
    const text = textOf(streams.stderr) + textOf(streams.stdout);
    if (text.endsWith('the end\n')) {
      for (const stream of [streams.stdout, streams.stderr]) stream.end();
      release();
      return text;
    }
    assert.ok(performance.now() < until, `the probe did not end: ${text.slice(-500)}`);
  }
}

async function byRuntime(wanted: Case): Promise<string> {
  const rootfs = await makeRoot(wanted.root);
  const id = `${process.pid}${count}`;
  const spec = specOf(wanted, id, rootfs);
  mkdirSync(join(folder, 'c', id));
  writeFileSync(join(folder, 'c', id, 'config.json'), JSON.stringify(spec));
  const created = await undoing((undo) => createdByRuntime(pod, { ...noStreams, containerId: id }, spec, undo));
  const text = await outputOf(created);
  await pod.runtime.delete(created.target.id, folder, created.cgroup);
  return text.replaceAll(rootfs, 'ROOT').replaceAll(/fifos\/[0-9]+/g, 'fifo');
}

async function byPreparing(wanted: Case): Promise<string | undefined> {
  const rootfs = await makeRoot(wanted.root);
  const spec = specOf(wanted, '0', rootfs);
  const prepared = new PreparedContainers(pod, failingLog, allCapabilities.filter(isAllowedHere));
  try {
    await prepared.fill();
    const created = await prepared.become('0', spec);
    if (created === undefined) return undefined;
    const text = await outputOf(created);
    await pod.runtime.delete(created.target.id, folder, created.cgroup);
    return text.replaceAll(rootfs, 'ROOT').replaceAll(/fifos\/[0-9]+/g, 'fifo');
  } finally {
    await prepared.close();
  }
}

for (const [name, wanted] of Object.entries(cases)) {
  test(`a prepared container is the same as one that runC made: ${name}`, async () => {
    const expected = await byRuntime(wanted);
    assert.equal(await byPreparing(wanted), expected);
  });
}

test('what does not fit a prepared container is left to the runtime', async () => {
  const link: Case = {
    root: (path) => {
      symlinkSync('/elsewhere', join(path, 'etc/hostname'));
    },
  };
  assert.equal(await byPreparing(link), undefined);
  assert.equal(await byPreparing({ config: security({ privileged: true }) }), undefined);
  assert.equal(existsSync('/elsewhere'), false);
});

test('a program that is not there fails the creation in the words of runC', async () => {
  const missing: Case = { change: ({ process }) => process.args.splice(0, process.args.length, 'nosuch') };
  const expected = await byRuntime(missing).catch((caught: Error) => caught.message);
  assert.match(expected ?? '', /executable file not found/);
  assert.equal(await byPreparing(missing).catch((caught: Error) => caught.message), expected);
});
