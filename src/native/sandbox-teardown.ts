/** Taking a native pod away: the same steps for stop, remove and clean-up after a crash. */
import { existsSync } from 'node:fs';
import { everyStep } from '../base/every-step.ts';
import { PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { Network } from '../network/network.ts';
import { networkWish } from '../pod/network-wish.ts';
import type { SandboxRecord } from '../pod/records.ts';
import { removeTree, unmountBelow } from './mounts.ts';
import { removeNamespace } from './namespaces.ts';
import { parseNativeState } from './native-state.ts';
import type { OciCli } from './oci-cli.ts';
import type { NativeRuntimeOptions } from './options.ts';
import { type PodPlaces, podPlaces, sharedPlaces } from './places.ts';
import { initId } from './pod-init.ts';
import { removeStreams } from './stream-process.ts';

/**
 * Gives network, namespaces and cgroups back; its containers have been ended before. Runs every
 * step, whatever fails; files stay until removal.
 */
export async function stopPod(options: NativeRuntimeOptions, runtime: OciCli, record: SandboxRecord): Promise<void> {
  const config = PodSandboxConfig.decode(Buffer.from(record.configBase64, 'base64'));
  const places = podPlaces(options, record.id);
  const { network, cgroups } = options;
  const ownNetwork = parseNativeState(record.status.runtimeState)?.own.network ?? true;
  await everyStep([
    ['init', () => deleteInit(runtime, places, record.id)],
    ['cgroup', () => cgroups.remove({ parent: config.linux?.cgroupParent ?? '', sandboxId: record.id })],
    ['streams', () => removeStreams(sharedPlaces(options).streams, record.id)],
    ...(ownNetwork ? networkSteps(network, record, config) : []),
    ...[places.ipc, places.uts, places.pid, places.user].map(
      (path) => ['namespace', () => removeNamespace(path)] as const,
    ),
    ['mounts', () => unmountBelow(places.state)],
  ]);
}

async function deleteInit(runtime: OciCli, places: PodPlaces, id: string): Promise<void> {
  if (existsSync(places.init)) await runtime.delete(initId(id));
}

type Steps = Parameters<typeof everyStep>[0];

function networkSteps(network: Network, record: SandboxRecord, config: PodSandboxConfig): Steps {
  const path = network.namespacePath(record.id);
  return [
    ['network', () => network.detach(networkWish(record, config, path))],
    ['netns', () => network.removeNamespace(record.id)],
  ];
}

/** Removes what stopPod leaves. */
export async function removePod(options: NativeRuntimeOptions, record: SandboxRecord): Promise<void> {
  const places = podPlaces(options, record.id);
  await everyStep([
    ['state folder', () => removeTree(places.state)],
    ['data folder', () => removeTree(places.data)],
  ]);
}
