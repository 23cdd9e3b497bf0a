/**
 * What husk-exec starts in a container is what `runc exec` would have started: the same probe is
 * run through both in the same container, for a table of specs, and what it sees is compared.
 * Runs on this machine's runC, so that no emulation blurs it; test/integration/guest-agent.test.ts has the cgroup.
 */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ExecHelper } from '../../guest-agent/src/exec-helper.ts';
import type { ExecTarget, ExecWish } from '../../guest-agent/src/exec-request.ts';
import { type OciRuntime, ociRuntime } from '../../guest-agent/src/oci-runtime.ts';
import { sleep } from '../../src/base/deadline.ts';
import { run } from '../../src/base/exec.ts';
import { ContainerConfig } from '../../src/gen/cri/v1/api.ts';
import { allCapabilities } from '../../src/oci/capabilities.ts';
import { completeSpec } from '../../src/oci/complete-spec.ts';
import type { OciProcess, OciSpec } from '../../src/oci/runtime-spec.ts';
import { buildSpec } from '../../src/oci/spec.ts';

const helperProgram = join(import.meta.dirname, '../../build/bin/husk-exec');
const runc = '/usr/sbin/runc';
const probeMs = 30_000;
const cgroups = '/sys/fs/cgroup';
/** Everything that a process can tell of itself; `$$` is the shell, which is the process under test. */
const probe = `
grep -E '^(Umask|Uid|Gid|Groups|NoNewPrivs|Seccomp|Seccomp_filters|Speculation|Cap|Sig(Blk|Ign)|Shd|CoreDumping|THP|Cpus_allowed_list)' /proc/$$/status
cat /proc/$$/oom_score_adj /proc/$$/limits
for f in /proc/$$/ns/* /proc/$$/cwd /proc/$$/root /proc/$$/exe; do readlink $f; done
ls /proc/$$/fd
for f in 0 1 2; do stat -L -c '%u %g %a %F' /proc/$$/fd/$f; done
cat /proc/$$/mountinfo
tr '\\0' '\\n' < /proc/$$/environ
tr '\\0' '\\n' < /proc/$$/cmdline
cat /proc/$$/stat | sed 's/.*) //' | cut -d' ' -f2,16,17,38,39,40
test "$(sed 's/.*) //' /proc/$$/stat | cut -d' ' -f3,4)" = "$$ $$" && echo leads its session
head -c 1 /proc/kcore 2>&1 | od -c
chroot / true 2>&1; mknod /tmp/n c 1 3 2>&1 && rm /tmp/n
echo the "end"`;

let folder: string;
let helper: ExecHelper;
let ours: OciRuntime;
let theirs: OciRuntime;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'husk-exec-'));
  for (const path of ['bin', 'tmp', 'proc', 'dev', 'sys', 'etc', 'work', 'private'])
    mkdirSync(join(folder, 'rootfs', path), { recursive: true, mode: path === 'private' ? 0o700 : 0o755 });
  await copyFile('/bin/busybox', join(folder, 'rootfs/bin/busybox'));
  await run('chroot', [join(folder, 'rootfs'), '/bin/busybox', '--install', '/bin'], { timeoutMs: 10_000 });
  writeFileSync(join(folder, 'rootfs/etc/passwd'), 'root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n');
  writeFileSync(join(folder, 'rootfs/bin/plain'), 'no program\n', { mode: 0o644 });
  writeFileSync(join(folder, 'rootfs/bin/broken'), 'no format', { mode: 0o755 });
  helper = new ExecHelper(helperProgram);
  ours = ociRuntime(runc, folder, helper);
  theirs = ociRuntime(runc, folder);
});
after(async () => {
  helper.close();
  await rm(folder, { recursive: true, force: true });
});

interface Case {
  readonly config?: object;
  readonly user?: { uid: number; gid: number; supplementalGroups: number[]; home: string };
  readonly change?: (spec: OciSpec) => void;
}

const root = { uid: 0, gid: 0, supplementalGroups: [0], home: '/root' };
const security = (context: object): object => ({
  linux: { securityContext: { seccomp: { profileType: 0 }, ...context } },
});

const cases: Readonly<Record<string, Case>> = {
  'the default of a pod': {},
  'no seccomp': { config: security({ seccomp: { profileType: 1 } }) },
  'no_new_privs with seccomp': { config: security({ noNewPrivs: true }) },
  'no_new_privs alone': { config: security({ noNewPrivs: true, seccomp: { profileType: 1 } }) },
  'a user with groups': { user: { uid: 1000, gid: 1000, supplementalGroups: [1000, 6, 7], home: '/home/web' } },
  'a user without a group of its own': { user: { uid: 4711, gid: 0, supplementalGroups: [], home: '/' } },
  'all capabilities': {
    config: security({ capabilities: { addCapabilities: ['ALL'], dropCapabilities: [], addAmbientCapabilities: [] } }),
  },
  'no capabilities': {
    config: security({ capabilities: { addCapabilities: [], dropCapabilities: ['ALL'], addAmbientCapabilities: [] } }),
  },
  'ambient capabilities of a user': {
    config: security({
      capabilities: { addCapabilities: ['NET_ADMIN'], dropCapabilities: [], addAmbientCapabilities: [] },
    }),
    user: { uid: 1000, gid: 1000, supplementalGroups: [1000], home: '/' },
    change: ({ process: { capabilities } }) => {
      capabilities.inheritable = ['CAP_NET_ADMIN'];
      capabilities.ambient = ['CAP_NET_ADMIN'];
    },
  },
  'a read-only root': { config: security({ readonlyRootfs: true }) },
  privileged: { config: security({ privileged: true }) },
  'a working folder': { config: { workingDir: '/work' } },
  'a working folder that only root may enter': {
    config: { workingDir: '/private' },
    user: { uid: 1000, gid: 1000, supplementalGroups: [1000], home: '/' },
  },
  limits: {
    change: ({ process }) => {
      process.rlimits.push({ type: 'RLIMIT_CORE', soft: 0, hard: 0 }, { type: 'RLIMIT_NPROC', soft: 500, hard: 600 });
      process.rlimits.push({ type: 'RLIMIT_STACK', soft: 4_194_304, hard: 8_388_608 });
    },
  },
  'an environment with repeats and an empty home': {
    change: ({ process }) => process.env.unshift('A=1', 'B=', 'A=2', 'HOME=', 'SP= a b', 'PATH=/bin'),
  },
  'an oom score': {
    change: ({ process }) => {
      process.oomScoreAdj = 500;
    },
  },
  'namespaces of its own': {
    change: ({ linux }) => linux.namespaces.push({ type: 'ipc' }, { type: 'uts' }, { type: 'network' }),
  },
};

let count = 0;

async function withContainer(wanted: Case, work: (target: ExecTarget) => Promise<void>): Promise<void> {
  count += 1;
  const id = `husk-exec-test-${process.pid}-${count}`;
  const config = ContainerConfig.fromPartial({
    metadata: { name: 'c', attempt: 0 },
    command: ['/bin/sleep', '600'],
    ...security({}),
    ...wanted.config,
  } as object);
  const image = { env: ['PATH=/bin'], workingDir: '', entrypoint: [], cmd: [] };
  const files = { hostnameFile: '', resolvConfFile: '', shmFolder: '/dev/shm', files: [] };
  const built = buildSpec({ containerId: id, config, image, hostname: 'h' });
  const user = wanted.user ?? root;
  // Soft is hard: Go's start raises the one to the other, before or after runC has set them (runc issue 4195).
  built.process.rlimits = [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 1024 }];
  wanted.change?.(built);
  const { capabilities } = built.process;
  for (const set of Object.values(capabilities) as string[][]) set.splice(0, set.length, ...set.filter(isAllowedHere));
  const spec = completeSpec(built, { user, rootfs: join(folder, 'rootfs'), ...files });
  // This machine's cgroups are not the guest's: neither limits nor a mount of them.
  spec.mounts = spec.mounts.filter(({ type }) => type !== 'cgroup');
  const bundle = join(folder, id);
  mkdirSync(bundle);
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(spec));
  const target = await ours.create(id, bundle, { spec, stdio: ['ignore', 'ignore', 'ignore'] });
  const groups = execGroups(spec.linux.cgroupsPath);
  try {
    await ours.start(id, bundle, Promise.withResolvers<void>().promise);
    await work(target);
  } finally {
    // Its cgroups are of version 1 here: runC removes them.
    await ours.delete(id, bundle, join(bundle, 'none'));
    for (const group of groups) await removeGroup(group);
    await rm(bundle, { recursive: true });
  }
}

/** A machine that is itself confined cannot hand on what it does not have. */
function isAllowedHere(name: string): boolean {
  const mask = /^CapBnd:\s+([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  return ((BigInt(`0x${mask}`) >> BigInt(allCapabilities.indexOf(name))) & 1n) === 1n;
}

/** `exec` below the container's cgroup, in every hierarchy that this machine has. */
function execGroups(path: string): string[] {
  const hierarchies = existsSync(`${cgroups}/cgroup.controllers`)
    ? ['']
    : readdirSync(cgroups).map((name) => `/${name}`);
  const made = hierarchies.map((name) => `${cgroups}${name}${path}`).filter((group) => existsSync(group));
  for (const group of made) {
    mkdirSync(`${group}/exec`);
    for (const file of ['cpuset.cpus', 'cpuset.mems'])
      if (existsSync(`${group}/cgroup.clone_children`) && existsSync(`${group}/${file}`))
        writeFileSync(`${group}/exec/${file}`, readFileSync(`${group}/${file}`));
  }
  return made.map((group) => `${group}/exec`);
}

/** A process that was just killed keeps its cgroup busy for a moment; runC may have removed it itself. */
async function removeGroup(group: string): Promise<void> {
  for (let tries = 0; existsSync(group); tries += 1) {
    try {
      rmdirSync(group);
    } catch (caught) {
      if (tries > 200) throw caught;
      await sleep(10);
    }
  }
}

async function tell(
  runtime: OciRuntime,
  target: ExecTarget,
  process: OciProcess,
  ended = (text: string): boolean => text.endsWith('the end\n'),
): Promise<string> {
  count += 1;
  const output = join(folder, `out-${count}`);
  const fd = openSync(output, 'w+', 0o600);
  const hierarchy = existsSync(`${cgroups}/cgroup.controllers`) ? '' : '/unified';
  const cgroup = `${cgroups}${hierarchy}${target.spec.linux.cgroupsPath}/exec`;
  mkdirSync(cgroup, { recursive: true });
  const wish: ExecWish = { process, cgroup, streams: [-1, fd, fd] };
  try {
    await runtime.exec(target, join(folder, `files-${count}`), wish);
    for (const until = performance.now() + probeMs; ; await sleep(5)) {
      const text = readFileSync(output, 'utf8');
      if (ended(text)) return text;
      assert.ok(performance.now() < until, `the probe did not end: ${text.slice(-500)}`);
    }
  } catch (caught) {
    return (caught as Error).message;
  } finally {
    closeSync(fd);
  }
}

for (const [name, wanted] of Object.entries(cases)) {
  test(`a process is the same as that of runc exec: ${name}`, async () => {
    await withContainer(wanted, async (target) => {
      const process = { ...target.spec.process, args: ['sh', '-c', probe] };
      const expected = await tell(theirs, target, process);
      assert.match(expected, /leads its session/);
      assert.equal(await tell(ours, target, process), expected);
    });
  });
}

test('what cannot be started is told in the words of runc exec', async () => {
  await withContainer({}, async (target) => {
    const changes: readonly Partial<OciProcess>[] = [
      ...['nosuch', '/nosuch', '/bin', '/bin/plain', 'plain', 'a"b\n', '', './bin/nosuch'].map((arg) => ({
        args: [arg],
      })),
      { args: ['true'], env: ['PATH=/nowhere'] },
      { args: ['true'], env: [] },
      { args: ['busybox'], env: ['PATH=bin'] },
      { args: ['true'], cwd: '/nosuch' },
      { args: ['true'], cwd: '/bin/busybox' },
    ];
    for (const change of changes) {
      const process = { ...target.spec.process, ...change };
      const expected = await tell(theirs, target, process);
      assert.match(expected, /^OCI runtime exec: exit code 255: /);
      assert.equal(await tell(ours, target, process), expected);
    }
  });
});

test('what the kernel cannot run has started, and says so itself', async () => {
  await withContainer({}, async (target) => {
    const process = { ...target.spec.process, args: ['broken'] };
    const wait = (text: string): boolean => text.endsWith('exec format error\n');
    const expected = await tell(theirs, target, process, wait);
    assert.equal(expected, 'exec /bin/broken: exec format error\n');
    assert.equal(await tell(ours, target, process, wait), expected);
  });
});

test('a container that has ended is not entered, and its pid of another process neither', async () => {
  await withContainer({}, async (target) => {
    const process = { ...target.spec.process, args: ['true'] };
    assert.match(await tell(ours, { ...target, startTicks: '1' }, process), /cannot exec in a stopped container/);
    await run('kill', ['-KILL', String(target.pid)], { timeoutMs: 10_000 });
    while (existsSync(`/proc/${target.pid}`)) await sleep(5);
    assert.match(await tell(ours, target, process), /cannot exec in a stopped container/);
  });
});
