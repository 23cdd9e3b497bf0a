/**
 * A host that lacks something: each RunPodSandbox fails with what was tried and found, leaves nothing, and the same pod
 * runs when the host is well again. VMs boot here, since a clone needs no kernel.
 */
import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { run } from '../../src/base/exec.ts';
import { ListPodSandboxRequest, RunPodSandboxRequest } from '../../src/gen/cri/v1/api.ts';
import { type Daemon, startDaemon } from '../helpers/daemon.ts';
import { assertHoldings, holdingsOf } from '../helpers/holdings.ts';
import { podConfig, removePod } from '../helpers/pods.ts';

const repository = join(import.meta.dirname, '../..');
const timeoutMs = 30_000;
const diskBytes = 400 * 2 ** 20;
const gate = 'husk-test-gate';
let base: string;
/** The daemon's, a file system of its own. */
let folder: string;
let daemon: Daemon;
let clean: string[];

const bin = (name = ''): string => join(base, 'bin', name);
const image = (name = ''): string => join(base, 'image', name);
/** Its files make the CNI plugin of the test fail, or hang. */
const flag = (name: string): string => join(base, `gate-${name}`);

before(async () => {
  base = await mkdtemp(join(tmpdir(), 'husk-host-'));
  await run('chmod', ['711', base], { timeoutMs });
  await copyAll(join(repository, 'build/bin'), bin());
  await copyAll(join(repository, 'build/guest-image/current'), image());
  await mkdir(join(base, 'plugins'));
  const script = [
    '#!/bin/sh',
    `[ "$CNI_COMMAND" = ADD ] || exit 0`,
    `[ ! -e ${flag('fail')} ] || { echo '{"cniVersion":"1.0.0","code":100,"msg":"no address left"}'; exit 1; }`,
    `[ ! -e ${flag('hang')} ] || exec sleep 1000`,
    `echo '{"cniVersion":"1.0.0"}'`,
  ];
  await writeFile(join(base, 'plugins', gate), `${script.join('\n')}\n`, { mode: 0o755 });
  folder = await mkdtemp(join(tmpdir(), 'husk-test-'));
  await run('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes},mode=711`, 'husk-host-faults', folder], { timeoutMs });
  daemon = await startDaemon({
    folder,
    flags: [
      ...['--template=false', '--accel=tcg', `--bin-directory=${bin()}`, `--guest-image=${image()}`],
      `--cni-plugin-dir=${join(base, 'plugins')},/opt/cni/bin,/usr/lib/cni`,
    ],
  });
  const network = join(folder, 'cni/10-husk.conflist');
  const { plugins, ...rest } = JSON.parse(await readFile(network, 'utf8')) as { plugins: object[] };
  await writeFile(network, JSON.stringify({ ...rest, plugins: [{ type: gate }, ...plugins] }));
  // What the first pod leaves for all to come is there before the count.
  const { podSandboxId } = await runPod();
  await removePod(daemon, podSandboxId);
  clean = await holdingsOf(daemon);
});
after(async () => {
  await daemon?.stop();
  await run('umount', ['-l', folder], { timeoutMs }).catch(() => undefined);
  for (const path of [base, folder]) await rm(path, { recursive: true, force: true });
});

async function copyAll(from: string, to: string): Promise<void> {
  await mkdir(to, { mode: 0o755 });
  for (const name of await readdir(from)) {
    if ((await stat(join(from, name))).isFile()) await copyFile(join(from, name), join(to, name));
  }
}

/** One and the same pod in each test: a failed attempt keeps neither its name nor anything else. */
const config = podConfig({ metadata: { name: 'again', namespace: 'test', uid: 'u', attempt: 0 } });
const runPod = (deadlineMs?: number) =>
  daemon.cri.runPodSandbox(RunPodSandboxRequest.fromPartial({ config }), deadlineMs);

/** The attempt fails so, and leaves nothing. @param held what the daemon holds before and after */
async function fails(code: number, message: RegExp, { deadlineMs = 60_000, held = clean } = {}): Promise<void> {
  await assert.rejects(runPod(deadlineMs), (error: { code: number; message: string }) => {
    assert.match(error.message, message);
    assert.equal(error.code, code, error.message);
    return true;
  });
  assert.deepEqual((await daemon.cri.listPodSandbox(ListPodSandboxRequest.fromPartial({}))).items, []);
  await assertHoldings(daemon, held);
}

async function works(): Promise<void> {
  const { podSandboxId } = await runPod();
  await removePod(daemon, podSandboxId);
  await assertHoldings(daemon, clean);
}

test('a CNI plugin that fails, and one that hangs until the client leaves', async () => {
  await writeFile(flag('fail'), '');
  await fails(13, /stage cni-add.*plugin ".*husk-test-gate" ADD: code 100: no address left/);
  await rename(flag('fail'), flag('hang'));
  await fails(4, /./, { deadlineMs: 3_000 });
  await rm(flag('hang'));
  await works();
});

test('a disk that is full to the last byte, and one with too little for a pod', async () => {
  const filler = join(folder, 'filler');
  await run('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1M'], { timeoutMs }).catch(() => undefined);
  await fails(8, /full|no space/i);
  await rm(filler);
  const pods = join(folder, 'lib/pods');
  await run('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'husk-host-faults', pods], { timeoutMs });
  await fails(8, /copy the disk .* no space left/i, { held: await holdingsOf(daemon) });
  await run('umount', [pods], { timeoutMs });
  await works();
});

test('a program that is missing, and a kernel that is missing', async () => {
  await rename(bin('husk-jail'), bin('gone'));
  await fails(9, /run ".*\/bin\/husk-jail": .*ENOENT/);
  await rename(bin('gone'), bin('husk-jail'));
  await rename(image('vmlinux'), image('gone'));
  await fails(13, /jail: open .*\/vmlinux: No such file/);
  await rename(image('gone'), image('vmlinux'));
  await works();
});
