/** Taking a VM pod away: the same steps for stop, remove and clean-up after a crash. */
import { rm } from 'node:fs/promises';
import { describeError } from '../base/errors.ts';
import { everyStep } from '../base/every-step.ts';
import { span } from '../base/trace.ts';
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
 * Two things take their time and need not wait for one another: the guest's last words with the end of its VM, and the plugins'
 * DEL. Since DEL gives the pod's addresses to whoever wants them, the guest is taken off the network before.
 */
export async function stopPod(
  options: VmRuntimeOptions,
  record: SandboxRecord,
  pod: LivePod | undefined,
  lastWords: (pod: LivePod) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const config = configOf(record);
  const parent = config.linux?.cgroupParent ?? '';
  const isCut = pod === undefined || (await cutOff(options, pod));
  const words = pod === undefined || !isCut ? Promise.resolve() : span('last words', () => lastWords(pod));
  const vm = words.then(() => span('end of the VM', () => endVm(options, record, parent, pod)));
  const link = words.then(() => options.hub.detach(record.id));
  const silent = isCut ? Promise.resolve() : vm.catch(() => undefined);
  const request = networkWish(record, config, options.network.namespacePath(record.id));
  const network = silent.then(() => options.network.detach(request));
  const netns = network.catch(() => undefined).then(() => options.network.removeNamespace(record.id));
  // They run already; a failure counts in its step, however late that comes.
  void Promise.allSettled([vm, link, network, netns]);
  await everyStep([
    ['vm', () => vm],
    ['file server', () => ShareServer.end(podFolders(options, record.id).state)],
    ['cgroup', () => span('cgroup', () => options.cgroups.remove(parent, record.id))],
    ['network', () => network],
    ['netns', () => netns],
    ['agent link', () => link],
    ['volumes', async () => pod?.volumes.close()],
    ['logs', () => closeLogs(pod)],
  ]);
}

/** False when its VM cannot be told: then it has to end first. */
async function cutOff(options: VmRuntimeOptions, pod: LivePod): Promise<boolean> {
  try {
    await pod.vm.cutOff();
    return true;
  } catch (caught) {
    options.log.warn({ vm: pod.vm.ref.id, error: describeError(caught) }, 'the guest cannot be taken off the network');
    return false;
  }
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
