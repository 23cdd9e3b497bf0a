/** Boots a VM, warms it, and keeps its memory and device state. */
import { mkdir, open, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { sleep, withDeadline } from '../../base/deadline.ts';
import { HuskError } from '../../base/errors.ts';
import { undoing } from '../../base/undo.ts';
import { launchJailed } from '../../jail/launcher.ts';
import { copySparse, type HeldMemory, holdMemory, releaseHolder } from '../../jail/memfd.ts';
import { sendDescriptor } from '../../jail/sendfd.ts';
import { formattedDisk } from '../qemu/data-disk.ts';
import { jailSpec, type QemuHost, vmRef } from '../qemu/host.ts';
import { ignoreShared } from '../qemu/launch.ts';
import { QmpClient } from '../qemu/qmp-client.ts';
import { textField } from '../qemu/qmp-codec.ts';
import { dataDiskName, QemuVm } from '../qemu/vm.ts';

/** Boot and warm-up under emulation on a loaded machine. */
const buildTimeoutMs = 180_000;
const saveTimeoutMs = 30_000;
/** After the last call: the guest's relay notices the end of the link, timers run out. */
const settleMs = 300;
const maxStateBytes = 64 * 1024 * 1024;

export interface TemplateSize {
  readonly vcpus: number;
  readonly memoryMiB: number;
  /** Upper bound of the pods' writable disk: the template has its file system mounted. */
  readonly diskBytes: number;
}

/** Where a template is put together. */
export interface TemplatePlace {
  readonly key: string;
  /** The data disk of the template's VM goes there, as it was when the memory was saved. */
  readonly disk: string;
}

/** Builds a template. Its VM has ended when this returns; the memory is writable still: publish it. */
export function buildTemplate(
  host: QemuHost,
  { key, disk }: TemplatePlace,
  size: TemplateSize,
  signal?: AbortSignal,
): Promise<HeldMemory> {
  return undoing(async (undo) => {
    const held = await holdMemory(host.options.programs.memfd, size.memoryMiB * 2 ** 20, signal);
    undo.add('template memory', async () => {
      releaseHolder(held.holder);
      await held[Symbol.asyncDispose]();
    });
    const name = `template-${key.slice(0, 12)}`;
    const disks = join(host.options.dataFolder, 'disks');
    const folders = { stateFolder: join(host.options.runFolder, name), diskFolder: join(disks, name) };
    const clear = async (): Promise<void> => {
      for (const folder of Object.values(folders)) await rm(folder, { recursive: true, force: true });
    };
    await clear();
    await mkdir(folders.stateFolder, { recursive: true, mode: 0o711 });
    await mkdir(folders.diskFolder, { recursive: true, mode: 0o700 });
    try {
      const source = await formattedDisk(disks, size.diskBytes, signal);
      const vm = await boot(host, size, { ...folders, source }, held);
      try {
        await withDeadline('template', buildTimeoutMs, signal, (inner) => warmAndSave(host, vm, held, inner));
        await keepDisk(host, join(folders.diskFolder, dataDiskName), disk);
      } finally {
        await vm.destroy();
      }
    } finally {
      await clear();
    }
    return held;
  });
}

/** The machine has stopped for good: nothing is written to the disk any more. */
async function keepDisk(host: QemuHost, from: string, to: string): Promise<void> {
  await rm(to, { force: true });
  await using source = await open(from, 'r');
  await using target = await open(to, 'wx', 0o400);
  await copySparse(host.options.programs.memfd, source, target);
  await target.sync();
}

interface BootPlaces {
  readonly stateFolder: string;
  readonly diskFolder: string;
  /** The formatted disk that the template's is a copy of. */
  readonly source: string;
}

async function boot(host: QemuHost, size: TemplateSize, places: BootPlaces, held: HeldMemory): Promise<QemuVm> {
  const { stateFolder, diskFolder, source } = places;
  const id = basename(stateFolder);
  const { templateUid: uid, agentSocketUid, programs } = host.options;
  const launch = { id, ...size, uid, netnsPath: 'new', cgroupPaths: [], stateFolder, agentSocketUid, oomScoreAdj: 0 };
  const maxFileBytes = Math.max(maxStateBytes, size.diskBytes);
  const disk = { path: join(diskFolder, dataDiskName), source };
  const spec = jailSpec(host, { ...launch, maxFileBytes }, 'template', disk);
  const memory = { memoryFd: held.memory.fd, stateFd: held.state.fd, sealed: false };
  const process = await launchJailed(programs.jail, { ...spec, memory });
  const ref = vmRef(launch, process, 'cold-boot');
  return new QemuVm(
    ref,
    process,
    { stateFolder, diskFolder },
    { ...host.options, sendfd: programs.sendfd, zeroFile: host.zeroFile },
  );
}

async function warmAndSave(host: QemuHost, vm: QemuVm, held: HeldMemory, signal: AbortSignal): Promise<void> {
  const ended = vm.exited.then(({ reason, consoleTail }) => {
    throw new HuskError('internal', `template VM ended: ${reason}`, { cause: new HuskError('internal', consoleTail) });
  });
  ended.catch(() => undefined);
  try {
    await vm.qmp.execute([QmpClient.negotiation], saveTimeoutMs, signal);
    await Promise.race([ended, host.options.warm(vm.ref.agentSocket, signal)]);
    await sleep(settleMs, signal);
    await save(host, vm, held, signal);
  } catch (caught) {
    const consoleTail = await vm.consoleTail();
    const error = HuskError.from(caught, 'template-build');
    throw new HuskError(error.kind, `${error.message}; console: ${consoleTail.slice(-800).replaceAll(/\s+/g, ' ')}`, {
      cause: caught,
      stage: 'template-build',
    });
  }
}

/**
 * Saves while the guest runs: QEMU stops it for the last step and notes that it ran, so a clone
 * starts by itself.
 */
async function save(host: QemuHost, vm: QemuVm, held: HeldMemory, signal: AbortSignal): Promise<void> {
  // A named descriptor belongs to the monitor that got it: give the command on the same socket.
  await sendDescriptor(host.options.programs.sendfd, vm.ref.fdSocket, 'state', held.state.fd);
  const client = new QmpClient(vm.ref.fdSocket, { clock: host.options.clock, onEvent: () => undefined });
  try {
    await client.execute(
      [QmpClient.negotiation, ignoreShared, { name: 'migrate', args: { uri: 'fd:state' } }],
      saveTimeoutMs,
      signal,
    );
    for (;;) {
      const [reply] = await client.execute([{ name: 'query-migrate', args: undefined }], saveTimeoutMs, signal);
      const status = textField(reply, 'status');
      if (status === 'completed') return;
      if (status === 'failed' || status === 'cancelled') {
        throw new HuskError('internal', `save template: migration ${status}: ${textField(reply, 'error-desc') ?? ''}`);
      }
      await sleep(5, signal);
    }
  } finally {
    client.close();
  }
}
