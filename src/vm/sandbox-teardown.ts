/** Taking a VM pod away: the same steps for stop, remove and clean-up after a crash. */
import { rm } from 'node:fs/promises';
import { everyStep } from '../base/every-step.ts';
import { PodSandboxConfig } from '../gen/cri/v1/api.ts';
import { networkWish } from '../pod/network-wish.ts';
import type { SandboxRecord } from '../pod/records.ts';
import type { LivePod } from './live-pod.ts';
import type { VmRuntimeOptions } from './options.ts';
import { podFolders } from './pod-places.ts';
import { parseVmState } from './vm-state.ts';

/** Ends the VM and gives the network back; files stay until removal. Runs every step, whatever fails. */
export async function stopPod(
  options: VmRuntimeOptions,
  record: SandboxRecord,
  pod: LivePod | undefined,
): Promise<void> {
  const config = configOf(record);
  const parent = config.linux?.cgroupParent ?? '';
  const folders = podFolders(options, record.id);
  await everyStep([
    ['agent link', () => options.hub.detach(record.id)],
    ['vm', async () => pod?.vm.destroy()],
    [
      'vm files',
      () =>
        options.hypervisor.sweep(record.id, {
          cgroupPaths: options.cgroups.paths(parent, record.id),
          stateFolder: folders.state,
          diskFolder: folders.data,
        }),
    ],
    ['cgroup', () => options.cgroups.remove(parent, record.id)],
    ['network', () => options.network.detach(networkWish(record, config, options.network.namespacePath(record.id)))],
    ['netns', () => options.network.removeNamespace(record.id)],
    ['logs', () => closeLogs(pod)],
  ]);
}

/** Removes what stopPod leaves. Returns the uid that is free now. */
export async function removePod(options: VmRuntimeOptions, record: SandboxRecord): Promise<number | undefined> {
  const folders = podFolders(options, record.id);
  await everyStep([
    ['state folder', () => rm(folders.state, { recursive: true, force: true })],
    ['data folder', () => rm(folders.data, { recursive: true, force: true })],
  ]);
  return parseVmState(record.status.runtimeState)?.uid;
}

async function closeLogs(pod: LivePod | undefined): Promise<void> {
  for (const log of pod?.logs.values() ?? []) await log.close();
  pod?.logs.clear();
}

function configOf(record: SandboxRecord): PodSandboxConfig {
  return PodSandboxConfig.decode(Buffer.from(record.configBase64, 'base64'));
}
