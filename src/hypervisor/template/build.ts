/** Boots a VM, warms it, and keeps its memory and device state. */
import { mkdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { sleep, withDeadline } from '../../base/deadline.ts';
import { HuskError } from '../../base/errors.ts';
import { undoing } from '../../base/undo.ts';
import { launchJailed } from '../../jail/launcher.ts';
import { type HeldMemory, holdMemory, releaseHolder } from '../../jail/memfd.ts';
import { sendDescriptor } from '../../jail/sendfd.ts';
import { jailSpec, type QemuHost, vmRef } from '../qemu/host.ts';
import { ignoreShared } from '../qemu/launch.ts';
import { QmpClient } from '../qemu/qmp-client.ts';
import { textField } from '../qemu/qmp-codec.ts';
import { QemuVm } from '../qemu/vm.ts';

/** Boot and warm-up under emulation on a loaded machine. */
const buildTimeoutMs = 180_000;
const saveTimeoutMs = 30_000;
/** After the last call: the guest's relay notices the end of the link, timers run out. */
const settleMs = 300;
const maxStateBytes = 64 * 1024 * 1024;

export interface TemplateSize {
  readonly vcpus: number;
  readonly memoryMiB: number;
}

/** Builds a template. Its VM has ended when this returns; the memory is writable still: publish it. */
export function buildTemplate(
  host: QemuHost,
  key: string,
  size: TemplateSize,
  signal?: AbortSignal,
): Promise<HeldMemory> {
  return undoing(async (undo) => {
    const held = await holdMemory(host.options.programs.memfd, size.memoryMiB * 2 ** 20, signal);
    undo.add('template memory', async () => {
      releaseHolder(held.holder);
      await held[Symbol.asyncDispose]();
    });
    const stateFolder = join(host.options.runFolder, `template-${key.slice(0, 12)}`);
    await rm(stateFolder, { recursive: true, force: true });
    await mkdir(stateFolder, { recursive: true, mode: 0o711 });
    try {
      const vm = await boot(host, size, stateFolder, held);
      try {
        await withDeadline('template', buildTimeoutMs, signal, (inner) => warmAndSave(host, vm, held, inner));
      } finally {
        await vm.destroy();
      }
    } finally {
      await rm(stateFolder, { recursive: true, force: true });
    }
    return held;
  });
}

async function boot(host: QemuHost, size: TemplateSize, stateFolder: string, held: HeldMemory): Promise<QemuVm> {
  const id = basename(stateFolder);
  const { templateUid: uid, agentSocketUid, programs } = host.options;
  const launch = { id, ...size, uid, netnsPath: 'new', cgroupPaths: [], stateFolder, agentSocketUid, oomScoreAdj: 0 };
  const spec = jailSpec(host, { ...launch, maxFileBytes: maxStateBytes }, 'template', undefined);
  const memory = { memoryFd: held.memory.fd, stateFd: held.state.fd, sealed: false };
  const process = await launchJailed(programs.jail, { ...spec, memory });
  const ref = vmRef(launch, process, 'cold-boot');
  const folders = { stateFolder, diskFolder: stateFolder };
  return new QemuVm(ref, process, folders, { ...host.options, sendfd: programs.sendfd, zeroFile: host.zeroFile });
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
