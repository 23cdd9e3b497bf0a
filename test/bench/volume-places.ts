/** What volumes are measured on: folders of the host, and a disk. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../src/base/exec.ts';
import type { UndoStack } from '../../src/base/undo.ts';
import { volumePlaces } from './volume-metrics.ts';

const assigned = '/run/kata-containers/shared/direct-volumes';
const diskBytes = '2G';
const mebibyte = 1024 * 1024;
const toolMs = 60_000;

export interface BenchMount {
  readonly hostPath: string;
  readonly containerPath: string;
}

/**
 * Makes the places below a folder. The disk is ext4 on a file; `inGuest` has it mounted by the pod's own kernel, as a
 * CSI driver asks for with Kata's mountInfo.json, in place of the host's.
 */
export async function makePlaces(folder: string, inGuest: boolean, undo: UndoStack): Promise<BenchMount[]> {
  const mounts: BenchMount[] = [];
  for (const { name, hostPath: below, containerPath } of volumePlaces) {
    if (below === undefined) continue;
    const hostPath = join(folder, below);
    await mkdir(hostPath, { recursive: true });
    if (name === 'block') await makeDisk(hostPath, inGuest, undo);
    mounts.push({ hostPath, containerPath });
  }
  return mounts;
}

export interface BenchDevice {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly permissions: string;
}

/** A disk with nothing but bytes on it, all of them there: what the machine's disks can do at best. */
export async function makeRawDisk(folder: string, mib: number, undo: UndoStack): Promise<BenchDevice> {
  const file = join(folder, 'raw.img');
  await writeFile(file, Buffer.alloc(mib * mebibyte, 'x'));
  return { hostPath: await attach(file, undo), containerPath: '/dev/raw', permissions: 'r' };
}

async function attach(file: string, undo: UndoStack): Promise<string> {
  const device = (await run('losetup', ['-f', '--show', file], { timeoutMs: toolMs })).trim();
  undo.add('loop device', async () => void (await run('losetup', ['-d', device], { timeoutMs: toolMs })));
  return device;
}

async function makeDisk(hostPath: string, inGuest: boolean, undo: UndoStack): Promise<void> {
  const file = `${hostPath}.img`;
  await run('truncate', ['-s', diskBytes, file], { timeoutMs: toolMs });
  const device = await attach(file, undo);
  await run('mkfs.ext4', ['-q', device], { timeoutMs: toolMs });
  if (!inGuest) {
    await run('mount', [device, hostPath], { timeoutMs: toolMs });
    undo.add('mount', async () => void (await run('umount', [hostPath], { timeoutMs: toolMs })));
    return;
  }
  const name = Buffer.from(hostPath).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
  await mkdir(join(assigned, name), { recursive: true });
  undo.add('assignment', () => rm(join(assigned, name), { recursive: true }));
  const info = { 'volume-type': 'block', device, fstype: 'ext4', metadata: {}, options: [] };
  await writeFile(join(assigned, name, 'mountInfo.json'), JSON.stringify(info));
}
