/** Taking a VM pod away: the same steps for stop, remove and clean-up after a crash. */
import { rm } from 'node:fs/promises';
import { everyStep } from '../base/every-step.ts';
import { PodSandboxConfig } from '../gen/cri/v1/api.ts';
import { networkWish } from '../pod/network-wish.ts';
import type { SandboxRecord } from '../pod/records.ts';
import { ShareServer } from '../volumes/share-server.ts';
import type { LivePod } from './live-pod.ts';
import type { VmRuntimeOptions } from './options.ts';
import { podFolders } from './pod-places.ts';
import { parseVmState } from './vm-state.ts';

/**
 * Ends the VM and gives the network back; files stay until removal. Runs every step, whatever fails.
 *
 * The VM is killed first, and everything that does not need it gone goes on beside its end: the
 * plugins' DEL takes longer than the kernel needs to free the VM's memory.
 */
export async function stopPod(
  options: VmRuntimeOptions,
  record: SandboxRecord,
  pod: LivePod | undefined,
): Promise<void> {
  const config = configOf(record);
  const parent = config.linux?.cgroupParent ?? '';
  const vm = endVm(options, record, parent, pod);
  const network = options.network.detach(networkWish(record, config, options.network.namespacePath(record.id)));
  const link = options.hub.detach(record.id);
  // They run already; a failure counts in its step, however late that comes.
  void Promise.allSettled([vm, network, link]);
  await everyStep([
    ['vm', () => vm],
    ['file server', () => ShareServer.end(podFolders(options, record.id).state)],
    ['cgroup', () => options.cgroups.remove(parent, record.id)],
    ['network', () => network],
    ['netns', () => options.network.removeNamespace(record.id)],
    ['agent link', () => link],
    ['volumes', async () => pod?.volumes.close()],
    ['logs', () => closeLogs(pod)],
  ]);
}

/** Without a VM that is known, all processes of the host are searched for one that was left. */
async function endVm(
  options: VmRuntimeOptions,
  record: SandboxRecord,
  cgroupParent: string,
  pod: LivePod | undefined,
): Promise<void> {
  if (pod !== undefined) return await pod.vm.destroy();
  const folders = podFolders(options, record.id);
  await options.hypervisor.sweep(record.id, {
    cgroupPaths: options.cgroups.paths(cgroupParent, record.id),
    stateFolder: folders.state,
    diskFolder: folders.data,
  });
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
