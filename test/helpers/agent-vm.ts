/** A bare QEMU with the guest image, cold-booted: enough to try the agent on its real kernel. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../src/base/exec.ts';
import type { Layer } from '../../src/gen/agent/v1/agent.ts';

const toolMs = 60_000;
const layersDiskBytes = 2 ** 40;

/** A file of a layer: its text, or how it is made. */
export type LayerFile = string | { readonly copyOf: string } | { readonly symlinkTo: string };

export interface AgentVm {
  /** Path of QEMU's agent channel. */
  readonly socket: string;
  /** Path of a channel that nothing in the guest image opens: its port is `husk.test.0`. */
  readonly testSocket: string;
  readonly layers: readonly Layer[];
  console(): Promise<string>;
  stop(): Promise<void>;
}

/** A layer with busybox's applets as hard links, which a container needs least of all. */
export const busyboxLayer: Readonly<Record<string, LayerFile>> = {
  'bin/busybox': { copyOf: '/bin/busybox' },
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n',
  'etc/group': 'root:x:0:\nweb:x:1000:\ndisk:x:6:web\n',
  'tmp/.keep': '',
};

/**
 * Boots the guest image.
 * @param layerFiles for each layer its files by path
 */
export async function bootAgentVm(
  imageFolder: string,
  layerFiles: readonly Readonly<Record<string, LayerFile>>[],
): Promise<AgentVm> {
  const folder = await mkdtemp(join(tmpdir(), 'husk-agent-vm-'));
  const layers = await makeLayersDisk(folder, layerFiles);
  await sparse(join(folder, 'data.img'), 2 ** 30);
  await run('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=1', join(folder, 'data.img')], { timeoutMs: toolMs });
  const manifest = JSON.parse(await readFile(join(imageFolder, 'manifest.json'), 'utf8')) as { cmdline: string };
  const qemu = spawn('qemu-system-x86_64', qemuArguments(imageFolder, folder, manifest.cmdline), {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const socket = join(folder, 'agent.sock');
  return {
    socket,
    testSocket: join(folder, 'test.sock'),
    layers,
    console: () => readFile(join(folder, 'console'), 'utf8'),
    stop: () => stop(qemu, folder),
  };
}

async function stop(qemu: ChildProcess, folder: string): Promise<void> {
  if (qemu.exitCode === null && qemu.signalCode === null) {
    const gone = once(qemu, 'exit');
    qemu.kill('SIGKILL');
    await gone;
  }
  await rm(folder, { recursive: true, force: true });
}

function qemuArguments(image: string, folder: string, cmdline: string): string[] {
  const disk = (serial: string, path: string, readOnly: boolean): string[] => [
    '-blockdev',
    `driver=raw,node-name=${serial},read-only=${readOnly ? 'on' : 'off'},file.driver=file,file.filename=${path},file.locking=off`,
    '-device',
    `virtio-blk-pci,drive=${serial},serial=${serial}`,
  ];
  return [
    ...[
      '-nodefaults',
      '-no-user-config',
      '-display',
      'none',
      '-no-reboot',
      '-machine',
      'q35',
      '-accel',
      'tcg,tb-size=128',
    ],
    ...['-cpu', 'max,erms=off,fsrm=off', '-smp', '1', '-m', '512'],
    ...['-kernel', join(image, 'vmlinux'), '-initrd', join(image, 'initrd.img'), '-append', cmdline],
    ...['-chardev', `file,id=console,path=${join(folder, 'console')}`, '-serial', 'chardev:console'],
    ...['-chardev', `socket,id=agent,path=${join(folder, 'agent.sock')},server=on,wait=off`],
    ...['-device', 'virtio-serial-pci', '-device', 'virtserialport,nr=1,chardev=agent,name=husk.agent.0'],
    ...['-chardev', `socket,id=stream,path=${join(folder, 'bulk.sock')},server=on,wait=off`],
    ...['-device', 'virtserialport,nr=2,chardev=stream,name=husk.stream.0'],
    ...['-chardev', `socket,id=test,path=${join(folder, 'test.sock')},server=on,wait=off`],
    ...['-device', 'virtserialport,nr=4,chardev=test,name=husk.test.0'],
    ...disk('root', join(image, 'root.img'), true),
    ...disk('layers', join(folder, 'layers.img'), true),
    ...disk('data', join(folder, 'data.img'), false),
    // QEMU's own network: a gateway at 10.0.2.2 that answers pings, and nothing beyond.
    ...['-netdev', 'user,id=net,restrict=on', '-device', 'virtio-net-pci,netdev=net,mac=52:54:00:68:75:73'],
    ...['-device', 'virtio-rng-pci'],
  ];
}

async function makeLayersDisk(
  folder: string,
  layerFiles: readonly Readonly<Record<string, LayerFile>>[],
): Promise<Layer[]> {
  const path = join(folder, 'layers.img');
  await sparse(path, layersDiskBytes);
  const layers: Layer[] = [];
  let offset = 2 ** 20;
  for (const [index, files] of layerFiles.entries()) {
    const image = await makeLayer(join(folder, `layer-${index}`), files);
    const { size } = await stat(image);
    await run('dd', [`if=${image}`, `of=${path}`, 'bs=4096', `seek=${offset / 4096}`, 'conv=notrunc', 'status=none'], {
      timeoutMs: toolMs,
    });
    layers.push({ offsetBytes: BigInt(offset), sizeBytes: BigInt(size) });
    offset += Math.ceil(size / 2 ** 20) * 2 ** 20;
  }
  return layers;
}

async function makeLayer(folder: string, files: Readonly<Record<string, LayerFile>>): Promise<string> {
  for (const [path, content] of Object.entries(files)) {
    const target = join(folder, path);
    await mkdir(join(target, '..'), { recursive: true });
    if (typeof content === 'string') await writeFile(target, content);
    else if ('symlinkTo' in content) await run('ln', ['-s', content.symlinkTo, target], { timeoutMs: toolMs });
    else await run('cp', [content.copyOf, target], { timeoutMs: toolMs });
  }
  await run('mksquashfs', [folder, `${folder}.img`, '-quiet', '-no-progress', '-noappend'], { timeoutMs: toolMs });
  return `${folder}.img`;
}

async function sparse(path: string, bytes: number): Promise<void> {
  await using file = await open(path, 'w');
  await file.truncate(bytes);
}
