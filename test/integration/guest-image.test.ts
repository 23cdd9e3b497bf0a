/** The guest image in real QEMU under emulation, and what is in it. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { maxImageBytes, sourceDateEpoch } from '../../images/contents.ts';
import { type Manifest, sha256Of } from '../../images/pack.ts';
import { withDeadline } from '../../src/base/deadline.ts';
import { run } from '../../src/base/exec.ts';
import { openLink } from '../helpers/link.ts';

const repository = join(import.meta.dirname, '../..');
const image = realpathSync(join(repository, 'build/guest-image/current'));
const manifest = JSON.parse(readFileSync(join(image, 'manifest.json'), 'utf8')) as Manifest;
const bootMs = 120_000;
const answerMs = 30_000;
const reconnects = 30;

let folder: string;
const children: ChildProcess[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'husk-image-'));
});

after(async () => {
  const left = children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null);
  for (const child of left) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  await rm(folder, { recursive: true });
  assert.deepEqual(
    left.map(({ spawnargs }) => spawnargs[0]),
    [],
    'a test left a process behind',
  );
});

/** The devices of a pod's VM that the image needs to come up. */
function boot(name: string): { qemu: ChildProcess; agent: string; console: string } {
  const agent = join(folder, `${name}.agent`);
  const console = join(folder, `${name}.console`);
  const disk = `if=none,id=root,format=raw,readonly=on,file=${join(image, 'root.img')}`;
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...[
        '-M',
        'q35',
        '-accel',
        'tcg,tb-size=64',
        '-cpu',
        'max,erms=off,fsrm=off',
        '-m',
        '512',
        '-nodefaults',
        '-no-user-config',
      ],
      ...['-display', 'none', '-no-reboot', '-serial', `file:${console}`],
      ...['-kernel', join(image, 'vmlinux'), '-initrd', join(image, 'initrd.img'), '-append', manifest.cmdline],
      ...['-chardev', `socket,id=agent,path=${agent},server=on,wait=off`, '-device', 'virtio-serial-pci'],
      ...['-device', 'virtserialport,nr=1,chardev=agent,name=husk.agent.0'],
      ...['-chardev', 'null,id=stream', '-device', 'virtserialport,nr=2,chardev=stream,name=husk.stream.0'],
      ...['-drive', disk, '-device', 'virtio-blk-pci,drive=root,serial=root'],
      ...['-device', 'virtio-rng-pci', '-device', 'vmgenid,guid=auto'],
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  children.push(qemu);
  return { qemu, agent, console };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  child.kill(signal);
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

test('the files are those of the manifest, and not too many', async (t) => {
  let total = 0;
  for (const [name, { sha256, bytes }] of Object.entries(manifest.files)) {
    assert.equal(await sha256Of(join(image, name)), sha256);
    assert.equal(statSync(join(image, name)).size, bytes);
    total += bytes;
  }
  const { digest, ...rest } = manifest;
  assert.equal(createHash('sha256').update(JSON.stringify(rest)).digest('hex'), digest);
  assert.ok(image.endsWith(digest));
  assert.ok(total <= maxImageBytes);
  t.diagnostic(`${(total / 2 ** 20).toFixed(1)} MiB in all`);
});

test('the root holds no secret, no identity and nothing of this machine', async () => {
  const root = join(folder, 'root');
  await run('fsck.erofs', [`--extract=${root}`, join(image, 'root.img')], { timeoutMs: 60_000 });
  const privateKey = /-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n[A-Za-z0-9+/=]{40}/;
  for await (const path of filesBelow(root)) {
    assert.doesNotMatch(path, /\/(ssh_host|random-seed|\.npmrc$|id_(rsa|ed25519))|\.pem$/);
    const status = statSync(path);
    assert.equal(status.mtimeMs / 1000, sourceDateEpoch, path);
    assert.equal(status.mode & 0o7022, 0, `mode of ${path}`);
    // A private key may lie across two pieces of a large file; the pieces overlap in what matters.
    let last = '';
    for await (const chunk of createReadStream(path, { encoding: 'latin1', highWaterMark: 1 << 20 })) {
      const text = last + String(chunk);
      assert.doesNotMatch(text, privateKey, path);
      assert.ok(!text.includes(repository), `${path} names ${repository}`);
      last = text.slice(-256);
    }
  }
  for (const name of ['etc/machine-id', 'etc/hostname', 'etc/resolv.conf', 'etc/hosts']) {
    // Given to each pod by its agent, never part of the image.
    assert.match(readlinkSync(join(root, name)), /^\/run\/etc\//);
  }
  await rm(root, { recursive: true });
});

/** The regular files below a folder; links, which point anywhere, are not followed. */
async function* filesBelow(folderPath: string): AsyncGenerator<string> {
  for (const entry of await readdir(folderPath, { withFileTypes: true })) {
    const path = join(folderPath, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile()) yield path;
  }
}

test(`a guest boots, answers, and takes ${reconnects} new host sides, however the one before ended`, async (t) => {
  const started = performance.now();
  const since = (): number => Math.round(performance.now() - started);
  const { qemu, agent, console } = boot('links');
  const times: number[] = [];
  try {
    const first = await openLink(agent, bootMs);
    t.diagnostic(`cold boot to the relay's answer: ${since()} ms`);
    await withDeadline("the agent's first answer", bootMs, undefined, () => first.ping());
    t.diagnostic(`cold boot to the agent's answer: ${since()} ms`);
    first.socket.destroy();
    for (let n = 0; n < reconnects; n += 1) {
      if (n % 3 === 0) {
        await floodAndKill(agent);
      } else {
        const link = await openLink(agent, answerMs);
        times.push(link.handshakeMs);
        await withDeadline(`the agent's answer ${n}`, answerMs, undefined, () => link.ping());
        // In every second one half a frame is on its way when the host side goes.
        if (n % 3 === 1) link.socket.write(Buffer.alloc(20_000, 7));
        link.socket.destroy();
      }
    }
  } catch (caught) {
    t.diagnostic((await readFile(console, 'utf8')).slice(-2000));
    throw caught;
  } finally {
    await end(qemu, 'SIGTERM');
  }
  times.sort((a, b) => a - b);
  const [least, middle, most] = [0, times.length >> 1, times.length - 1].map((n) => Math.round(times[n] ?? 0));
  t.diagnostic(`handshakes: least ${least}, median ${middle}, most ${most} ms`);
});

async function floodAndKill(agent: string): Promise<void> {
  const host = spawn(process.execPath, [join(repository, 'test/fixtures/flooding-host.ts'), agent], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(host);
  await withDeadline('the flooding host side', answerMs, undefined, (signal) => once(host.stdout, 'data', { signal }));
  await end(host, 'SIGKILL');
}

test('a guest without its root disk ends and says why', async () => {
  const console = join(folder, 'no-root.console');
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...[
        '-M',
        'q35',
        '-accel',
        'tcg,tb-size=64',
        '-cpu',
        'max,erms=off,fsrm=off',
        '-m',
        '256',
        '-nodefaults',
        '-display',
        'none',
      ],
      ...['-no-reboot', '-serial', `file:${console}`, '-kernel', join(image, 'vmlinux')],
      ...['-initrd', join(image, 'initrd.img'), '-append', manifest.cmdline],
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  children.push(qemu);
  await withDeadline('the end of the guest', bootMs, undefined, (signal) => once(qemu, 'exit', { signal }));
  assert.match(await readFile(console, 'utf8'), /husk-init: find a disk with the serial root: /);
});

test('two builds give one digest', async (t) => {
  const builds = ['one', 'two'].map(async (name) => {
    const started = performance.now();
    const output = join(folder, name);
    const args = [join(repository, 'images/build.ts'), '--fresh', '--output', output];
    // Started elsewhere: nothing of the current folder may get into the image.
    await run(process.execPath, args, { timeoutMs: 300_000, cwd: folder });
    t.diagnostic(`build ${name}: ${Math.round(performance.now() - started)} ms`);
    return JSON.parse(await readFile(join(output, 'current/manifest.json'), 'utf8')) as Manifest;
  });
  const [one, two] = await Promise.all(builds);
  assert.deepEqual(one, two);
});
