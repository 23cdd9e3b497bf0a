/** Starts one VM: disk, jail, commands; all undone when one of them fails. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withDeadline } from '../../base/deadline.ts';
import { HuskError } from '../../base/errors.ts';
import { undoing } from '../../base/undo.ts';
import { jailMessages, launchJailed } from '../../jail/launcher.ts';
import type { HeldMemory } from '../../jail/memfd.ts';
import type { Stamp, VmConfig } from '../hypervisor.ts';
import { formattedDisk } from './data-disk.ts';
import { jailSpec, type QemuHost, vmRef } from './host.ts';
import { QmpClient } from './qmp-client.ts';
import type { QmpCommand } from './qmp-codec.ts';
import { dataDiskName, diskFolderName, QemuVm, removeVmFiles } from './vm.ts';

/** Reading the state takes milliseconds; a machine under full load gets longer. */
const startTimeoutMs = 30_000;

/** RAM that is shared with a file is not in the migration stream (QEMU: migration/ram.c). */
export const ignoreShared: QmpCommand = {
  name: 'migrate-set-capabilities',
  args: { capabilities: [{ capability: 'x-ignore-shared', state: true }] },
};

const loadState: readonly QmpCommand[] = [
  QmpClient.negotiation,
  ignoreShared,
  // Else QEMU sends RARP frames with the template's MAC address into the pod's network.
  { name: 'migrate-set-parameters', args: { 'announce-rounds': 0 } },
  { name: 'migrate-incoming', args: { uri: 'fd:4' } },
];

export interface LaunchHow {
  /** Clone this; absent: boot. */
  readonly template: { readonly held: HeldMemory; readonly disk: string } | undefined;
  readonly stamp: Stamp;
  readonly signal: AbortSignal | undefined;
}

/** Starts a clone of the template, or without one boots. The guest runs when this returns. */
export function launchVm(host: QemuHost, config: VmConfig, how: LaunchHow): Promise<QemuVm> {
  const { template, stamp, signal } = how;
  return undoing(async (undo) => {
    undo.add('VM files', () => removeVmFiles(config));
    const [source] = await Promise.all([
      template?.disk ?? formattedDisk(join(host.options.dataFolder, 'disks'), config.diskBytes, signal),
      // Read of a VM that runs, so after this was written: nothing to sync.
      writeFile(join(config.stateFolder, diskFolderName), config.diskFolder, { mode: 0o600 }),
    ]);
    stamp('vm-disk');
    const spec = jailSpec(host, { ...config, maxFileBytes: config.diskBytes }, template ? 'clone' : 'cold', {
      path: join(config.diskFolder, dataDiskName),
      source,
    });
    const memory = template && { memoryFd: template.held.memory.fd, stateFd: template.held.state.fd, sealed: true };
    const process = await launchJailed(host.options.programs.jail, memory ? { ...spec, memory } : spec, signal);
    stamp('vm-jail');
    const ref = vmRef(config, process, template ? 'clone' : 'cold-boot');
    const { sendfd } = host.options.programs;
    const vm = new QemuVm(ref, process, config, { ...host.options, sendfd, zeroFile: host.zeroFile });
    undo.add('VM process', () => vm.destroy());
    await withDeadline('start of the VM', startTimeoutMs, signal, () => running(vm, config, template !== undefined));
    stamp('vm-running');
    return vm;
  });
}

async function running(vm: QemuVm, config: VmConfig, clone: boolean): Promise<void> {
  // One write before QEMU so much as listens: it finds all commands waiting.
  const commands = clone ? loadState : [QmpClient.negotiation];
  const replies = vm.qmp.execute(commands, startTimeoutMs).then(() => (clone ? vm.resumed : undefined));
  replies.catch(() => undefined);
  const ended = vm.exited.then(async ({ reason }) => {
    const text = `start VM process: ${reason}`;
    const cause = new HuskError('internal', await jailMessages(config.stateFolder));
    throw new HuskError('internal', text, { stage: 'vm-start', cause });
  });
  ended.catch(() => undefined);
  try {
    await Promise.race([replies, ended]);
  } catch (caught) {
    // A QEMU that ends takes the connection along; why it ended says more.
    const early = HuskError.from(caught);
    if (early.kind === 'unavailable') await ended;
    throw early;
  }
}
