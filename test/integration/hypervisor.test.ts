/** The hypervisor on real QEMU, real jail, real kernel; the guest's first process is a probe. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { open, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { withDeadline } from '../../src/base/deadline.ts';
import { hypervisorContract } from '../../src/hypervisor/hypervisor.contract.ts';
import type { Vm } from '../../src/hypervisor/hypervisor.ts';
import { createQemuHypervisor, type QemuHypervisor } from '../../src/hypervisor/qemu/hypervisor.ts';
import { digestOf } from '../../src/hypervisor/template/store.ts';
import { allGone, kill, type ProcessIdentity, processesWithArgument, readIdentity } from '../../src/jail/process.ts';
import { ask, type Lab, labSize, labUid, openLab } from '../fixtures/probe-guest/lab.ts';

let lab: Lab;
let hypervisor: QemuHypervisor;
let layerFiles: Awaited<ReturnType<Lab['layer']>>[];

before(async () => {
  lab = await openLab();
  hypervisor = await createQemuHypervisor(lab.options);
  layerFiles = [];
  for (let n = 0; n < 23; n += 1) layerFiles.push(await lab.layer(`layer-${n}`, 4096 * (1 + ((n * 7) % 40))));
  await hypervisor.prepareTemplate(labSize);
});

after(async () => {
  const jailed = processesWithArgument(lab.options.programs.jail).filter(isOfLab);
  for (const process of jailed) for (const one of [...childrenOf(process), process]) kill(one);
  await withDeadline('end of what tests left', 10_000, undefined, () => allGone(jailed));
  await hypervisor.close();
  for (const holder of processesWithArgument('hold')) if (await isOurs(holder)) kill(holder);
  await lab.close();
  assert.deepEqual(jailed, [], 'a test left a VM behind');
});

hypervisorContract('QEMU', {
  hypervisor: () => hypervisor,
  config: (id) => lab.config(id),
  layers: () => [layerFiles[0] as (typeof layerFiles)[0], layerFiles[1] as (typeof layerFiles)[0]],
});

test('a clone answers, has a new random identity, and its steps are stamped', async (t) => {
  const answers: string[] = [];
  for (const id of ['clone-a', 'clone-b']) {
    const { vm, steps } = await launch(id);
    assert.match(await ask(vm.ref.agentSocket, 'ECHO hello'), /^OK hello$/);
    t.diagnostic(`${id}: ${steps()}`);
    await reseeded(vm);
    answers.push(await ask(vm.ref.agentSocket, 'RANDOM'));
    assert.equal(await ask(vm.ref.agentSocket, 'SIZE layers'), `OK ${2 ** 40}`);
    assert.equal(await ask(vm.ref.agentSocket, 'WRITE data 1048576 65'), 'OK');
    await vm.destroy();
  }
  assert.notEqual(answers[0], answers[1]);
});

test('without a template of its size a VM boots', async (t) => {
  const config = { ...(await lab.config('cold')), memoryMiB: 320 };
  const started = performance.now();
  const vm = await hypervisor.launch(config, () => undefined);
  assert.equal(await ask(vm.ref.agentSocket, 'ECHO x'), 'OK x');
  t.diagnostic(`cold boot to the first answer: ${Math.round(performance.now() - started)} ms`);
  assert.equal(vm.ref.origin, 'cold-boot');
  assert.match(await vm.consoleTail(), /probe: ready/);
  await vm.destroy();
});

test('a running QEMU owns exactly what the jail gives it', async () => {
  const { vm } = await launch('posture');
  const proc = (name: string): Promise<string> => readFile(`/proc/${vm.ref.pid}/${name}`, 'utf8');
  const status = Object.fromEntries(
    [...(await proc('status')).matchAll(/^(\w+):[\t ]*(.*)$/gm)].map(([, k, v]) => [k, v]),
  );
  const id = `${labUid}\t${labUid}\t${labUid}\t${labUid}`;
  const none = '0000000000000000';
  const wanted = {
    Uid: id,
    Gid: id,
    Groups: '',
    NoNewPrivs: '1',
    Seccomp: '2',
    THP_enabled: '0',
    CapInh: none,
    CapPrm: none,
    CapEff: none,
  };
  for (const [key, value] of Object.entries({ ...wanted, CapBnd: none, CapAmb: none })) {
    assert.equal(status[key]?.trim(), value, key);
  }
  assert.match(status['NSpid'] ?? '', /\t1$/);
  // The keeper is there once for each VM: what it needed to begin with must not stay.
  const keeper = await readFile(`/proc/${status['PPid']}/smaps_rollup`, 'utf8');
  const kept = Number(/^Private_Dirty: +(\d+) kB$/m.exec(keeper)?.[1]);
  assert.ok(kept > 0 && kept <= 256, `the keeper has ${kept} KiB of its own`);
  const spaces = await readdir(`/proc/${vm.ref.pid}/ns`);
  const inode = async (pid: number | 'self', space: string) => (await stat(`/proc/${pid}/ns/${space}`)).ino;
  const own: string[] = [];
  for (const space of spaces) if ((await inode(vm.ref.pid, space)) !== (await inode('self', space))) own.push(space);
  assert.deepEqual(own.toSorted(), ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'pid_for_children', 'uts']);
  const mounts = (await proc('mountinfo'))
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  assert.deepEqual(
    mounts.map((fields) => [fields[4], fields[5]?.split(',').slice(0, 3).join(',')]),
    [
      ['/', 'ro,nosuid,nodev'],
      ['/dev', 'ro,nosuid,noexec'],
      ['/fd', 'rw,nosuid,nodev'],
    ],
  );
  assert.deepEqual((await readdir(`/proc/${vm.ref.pid}/root`)).toSorted(), [
    'dev',
    'fd',
    'lib',
    'lib64',
    'share',
    'usr',
  ]);
  assert.deepEqual((await readdir(`/proc/${vm.ref.pid}/root/dev`)).toSorted(), ['null', 'urandom']);
  const set = {
    'Max core file size': '0',
    'Max file size': String(2 ** 30),
    'Max open files': '1024',
    'Max processes': '256',
    'Max locked memory': '0',
    'Max msgqueue size': '0',
  };
  // What the jail does not set is as this process has it.
  const inherited = limitsIn(await readFile('/proc/self/limits', 'utf8'));
  const both = Object.entries(set).map(([name, value]) => [name, `${value} ${value}`]);
  assert.deepEqual(limitsIn(await proc('limits')), { ...inherited, ...Object.fromEntries(both) });
  assert.equal((await proc('net/dev')).trim().split('\n').length, 3, 'only lo beside the two lines of head');
  assert.match(await proc('cgroup'), /husk-lab-/);
  // QEMU closes the device state a moment after the guest has started.
  for (let tries = 0; tries < 100 && (await filesOf(vm.ref.pid)).join().includes('husk-state'); tries += 1) {
    await ask(vm.ref.agentSocket, 'ECHO x');
  }
  assert.deepEqual(
    await filesOf(vm.ref.pid),
    [
      '/dev/net/tun rw',
      '/dev/null r',
      '/dev/urandom r',
      `${join(lab.folder, 'disk/posture/data.img')} rw`,
      `${join(lab.folder, 'guest/root.img')} r`,
      '/memfd:husk-memory (deleted) rw sealed',
    ].toSorted(),
  );
  assert.deepEqual(await kindsOf(vm.ref.pid), [
    ...['anon_inode:[eventfd]', 'anon_inode:[eventpoll]', 'anon_inode:[signalfd]', 'pipe', 'socket'],
  ]);
  await vm.destroy();
});

test('the template cannot be written through the descriptors of a running QEMU', async () => {
  const { vm } = await launch('sealed');
  const memory = await open(`/proc/${vm.ref.pid}/fd/3`, 'r+');
  const before = await digestOf(memory);
  await assert.rejects(memory.write(Buffer.from('x'), 0, 1, 4096), { code: 'EPERM' });
  await assert.rejects(memory.truncate(4096), { code: 'EPERM' });
  await vm.destroy();
  assert.deepEqual(await digestOf(memory), before);
  await memory.close();
});

test('twenty clones at once leave the template as it was', async (t) => {
  const before = await templateDigest();
  const started = performance.now();
  const vms = await Promise.all(Array.from({ length: 20 }, async (_, n) => (await launch(`many-${n}`)).vm));
  const random = await Promise.all(vms.map(async (vm) => (await reseeded(vm), ask(vm.ref.agentSocket, 'RANDOM'))));
  t.diagnostic(`20 clones at once, to the answer of the last: ${Math.round(performance.now() - started)} ms`);
  assert.equal(new Set(random).size, 20);
  t.diagnostic(`private memory of an idle clone: ${await privateKiB(vms[0] as Vm)} KiB`);
  await Promise.all(vms.map((vm) => vm.destroy()));
  assert.deepEqual(await templateDigest(), before);
});

test('layers attached in steps of 1, 2 and 20 are read back, each at its place', async (t) => {
  const { vm } = await launch('layers');
  for (const count of [1, 3, 23]) {
    const files = layerFiles.slice(0, count);
    const started = performance.now();
    const ranges = await vm.attachLayers(files);
    t.diagnostic(`${count} layers there: ${(performance.now() - started).toFixed(1)} ms`);
    for (const [index, file] of files.entries()) {
      const range = ranges[index];
      const answer = await ask(vm.ref.agentSocket, `READ layers ${range?.offsetBytes} ${range?.sizeBytes}`);
      assert.equal(answer, `OK ${file.hash}`, `layer ${index}`);
    }
  }
  await vm.destroy();
});

test('a link in place of a layer is refused', async () => {
  const { vm } = await launch('layer-link');
  await assert.rejects(vm.attachLayers([{ path: '/proc/self/exe', sizeBytes: 4096 }]));
  const [file] = layerFiles;
  assert.equal((await vm.attachLayers(file === undefined ? [] : [file])).length, 1);
  await vm.destroy();
});

for (const [order, reason] of [
  ['PANIC', 'guest panic'],
  ['POWEROFF', 'guest power off'],
] as const) {
  test(`${reason}: the VM ends by itself, with the end of its console`, async () => {
    const { vm } = await launch(`end-${order}`);
    ask(vm.ref.agentSocket, order, 5_000).catch(() => undefined);
    const end = await withDeadline('end of the guest', 20_000, undefined, () => vm.exited);
    assert.equal(end.reason, reason);
    assert.match(end.consoleTail, order === 'PANIC' ? /Kernel panic/ : /./);
    await vm.destroy();
  });
}

test('a daemon that did not start a VM attaches layers to it and sees its end', async () => {
  const first = await createQemuHypervisor(lab.options);
  await first.prepareTemplate(labSize);
  const vm = await first.launch(await lab.config('stranger'), () => undefined);
  const [place] = await vm.attachLayers(layerFiles.slice(0, 1));
  await first.close();
  const again = await hypervisor.reattach(JSON.parse(JSON.stringify(vm.ref)));
  assert.ok(again);
  const [same, next] = await again.attachLayers(layerFiles.slice(0, 2));
  assert.deepEqual(same, place);
  const answer = await ask(vm.ref.agentSocket, `READ layers ${next?.offsetBytes} ${next?.sizeBytes}`);
  assert.equal(answer, `OK ${layerFiles[1]?.hash}`);
  kill(vm.ref);
  for (const one of [vm, again]) {
    assert.equal((await withDeadline('end', 10_000, undefined, () => one.exited)).reason, 'signal 9');
  }
  await again.destroy();
  assert.deepEqual(await readdir(join(lab.folder, 'disk/stranger')), []);
});

test('destroy removes every file and process of the VM', async () => {
  const { vm, config } = await launch('gone');
  await vm.attachLayers(layerFiles.slice(0, 2));
  await vm.destroy();
  assert.deepEqual(await readdir(config.stateFolder), []);
  assert.deepEqual(await readdir(config.diskFolder), []);
  assert.deepEqual(processesWithArgument('guest=husk-gone,debug-threads=on'), []);
});

test('a start that fails says why and leaves nothing', async () => {
  const config = { ...(await lab.config('bad')), netnsPath: '/nonexistent/netns' };
  await assert.rejects(
    hypervisor.launch(config, () => undefined),
    /jail: open \/nonexistent\/netns: No such file/,
  );
  assert.deepEqual(await readdir(config.stateFolder), []);
  assert.deepEqual(await readdir(config.diskFolder), []);
});

test('a template survives its daemon, and on disk a flipped bit is refused and it is built again', async (t) => {
  const folder = await templateFolder();
  const holder = JSON.parse(await readFile(join(folder, 'holder.json'), 'utf8')) as ProcessIdentity;
  kill(holder);
  const loading = await createQemuHypervisor(lab.options);
  let started = performance.now();
  await loading.prepareTemplate(labSize);
  t.diagnostic(`template loaded from disk and checked: ${Math.round(performance.now() - started)} ms`);
  assert.deepEqual(JSON.parse(await readFile(join(folder, 'record.json'), 'utf8')).memory, await templateDigest());
  await flipBit(join(folder, 'memory'));
  // Not the inode: a file system gives the number of a removed file to the next one.
  const made = (await stat(join(folder, 'memory'))).ctimeMs;
  kill(JSON.parse(await readFile(join(folder, 'holder.json'), 'utf8')) as ProcessIdentity);
  const building = await createQemuHypervisor(lab.options);
  started = performance.now();
  await building.prepareTemplate(labSize);
  t.diagnostic(`template refused and built again: ${Math.round(performance.now() - started)} ms`);
  assert.notEqual((await stat(join(folder, 'memory'))).ctimeMs, made);
  const vm = await building.launch(await lab.config('after-rebuild'), () => undefined);
  assert.equal(await ask(vm.ref.agentSocket, 'ECHO x'), 'OK x');
  assert.equal(vm.ref.origin, 'clone');
  await vm.destroy();
  await Promise.all([loading.close(), building.close()]);
});

async function launch(id: string) {
  const config = await lab.config(id);
  const started = performance.now();
  const stamps: string[] = [];
  const stamp = (step: string): void => void stamps.push(`${step} ${(performance.now() - started).toFixed(1)}`);
  const vm = await hypervisor.launch(config, stamp);
  return { vm, config, steps: () => `${stamps.join(', ')}, answer ${(performance.now() - started).toFixed(1)} ms` };
}

/** The guest's kernel says so when it has taken in the new identity: by an interrupt, soon after the start. */
async function reseeded(vm: Vm): Promise<void> {
  for (let tries = 0; tries < 400; tries += 1) {
    if ((await ask(vm.ref.agentSocket, 'KMSG virtual machine fork')) !== 'OK 0') return;
  }
  assert.fail('the guest saw no new vmgenid');
}

/** Soft and hard limit by name, of the text of /proc/PID/limits. */
function limitsIn(text: string): Record<string, string> {
  const lines = text.split('\n').slice(1);
  const fields = lines.map((line) => /^(Max [a-z ]+?) {2,}(\S+) +(\S+)/.exec(line)).filter((match) => match !== null);
  return Object.fromEntries(fields.map(([, name, soft, hard]) => [name, `${soft} ${hard}`]));
}

/** What else it has open: the kinds of what is no file. */
async function kindsOf(pid: number): Promise<string[]> {
  const targets = await Promise.all((await readdir(`/proc/${pid}/fd`)).map((fd) => readlink(`/proc/${pid}/fd/${fd}`)));
  const kinds = targets.map((target) => /^(socket|pipe)(?=:)|^anon_inode:.*$/.exec(target)?.[0]);
  return [...new Set(kinds.filter((kind) => kind !== undefined))].toSorted();
}

/** Every file that the process has open, with its access; anonymous things are left out. */
async function filesOf(pid: number): Promise<string[]> {
  const { readlinkSync, readdirSync, readFileSync } = await import('node:fs');
  const found = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    const target = readlinkSync(`/proc/${pid}/fd/${fd}`);
    if (/^(socket|pipe):|^anon_inode:/.test(target)) continue;
    const flags = Number.parseInt(
      /^flags:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1] ?? '',
      8,
    );
    const sealed = target.startsWith('/memfd:') ? ' sealed' : '';
    found.add(`${target} ${(flags & 3) === 0 ? 'r' : 'rw'}${sealed}`);
  }
  return [...found].toSorted();
}

async function privateKiB(vm: Vm): Promise<number> {
  const text = await readFile(`/proc/${vm.ref.pid}/smaps_rollup`, 'utf8');
  return Number(/^Private_Dirty:\s+(\d+)/m.exec(text)?.[1]);
}

async function templateFolder(): Promise<string> {
  const [name] = (await readdir(join(lab.options.dataFolder, 'templates'))).filter((key) => /^[0-9a-f]{64}$/.test(key));
  return join(lab.options.dataFolder, 'templates', name as string);
}

async function templateDigest() {
  const holder = JSON.parse(await readFile(join(await templateFolder(), 'holder.json'), 'utf8')) as ProcessIdentity;
  await using memory = await open(`/proc/${holder.pid}/fd/3`, 'r');
  return await digestOf(memory);
}

async function flipBit(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  await writeFile(path, bytes);
}

function isOfLab({ pid }: ProcessIdentity): boolean {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(lab.folder);
}

function childrenOf({ pid }: ProcessIdentity): ProcessIdentity[] {
  const pids = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  return pids.map((child) => readIdentity(Number(child))).filter((child) => child !== undefined);
}

async function isOurs(holder: ProcessIdentity): Promise<boolean> {
  return (await readFile(`/proc/${holder.pid}/cmdline`, 'utf8').catch(() => '')).startsWith(lab.options.programs.memfd);
}
