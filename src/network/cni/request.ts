/**
 * What a plugin is called with: environment and standard input. Pure.
 * https://www.cni.dev/docs/spec/#section-2-execution-protocol
 */
import { HuskError } from '../../base/errors.ts';
import type { JsonObject } from '../../base/shape.ts';
import type { Bandwidth, NetworkRequest, PortMapping } from '../network.ts';
import type { NetworkConfig, PluginConfig } from './config.ts';
import { asPrevResult } from './result.ts';

export type CniCommand = 'ADD' | 'DEL' | 'STATUS';

/** The pod's interface is named so everywhere: kubelet and containerd expect it. */
export const interfaceName = 'eth0';

/** One attachment: what plugins are told of the pod on ADD, kept so that DEL is told the same. */
export interface Attachment {
  readonly sandboxId: string;
  /** Value of CNI_ARGS. */
  readonly args: string;
  /** By capability: what a plugin that declares it gets as runtimeConfig. */
  readonly runtimeConfig: JsonObject;
}

/**
 * The attachment of a request.
 *
 * @throws HuskError `invalid-argument` when a name could be mistaken for further arguments
 */
export function attachmentOf(request: NetworkRequest): Attachment {
  const pairs: [string, string][] = [
    ['IgnoreUnknown', '1'],
    ['K8S_POD_NAMESPACE', request.podNamespace],
    ['K8S_POD_NAME', request.podName],
    ['K8S_POD_INFRA_CONTAINER_ID', request.sandboxId],
    ['K8S_POD_UID', request.podUid],
  ];
  for (const [key, value] of pairs) {
    if (!/[;=\u0000-\u001f\u007f]/.test(value)) continue;
    throw new HuskError(
      'invalid-argument',
      `pass ${key} to CNI: found "${value.slice(0, 80)}", wanted no ";", "=" or control characters`,
    );
  }
  const mappings = request.portMappings.filter(({ hostPort }) => hostPort > 0).map(portMapping);
  return {
    sandboxId: request.sandboxId,
    args: pairs.map((pair) => pair.join('=')).join(';'),
    runtimeConfig: {
      ...(mappings.length === 0 ? {} : { portMappings: mappings }),
      ...(request.bandwidth === undefined ? {} : { bandwidth: bandwidth(request.bandwidth) }),
      ...(request.cgroupParent === undefined ? {} : { cgroupPath: request.cgroupParent }),
    },
  };
}

/** The environment of a call; nothing else is inherited. `netnsPath` is empty when the namespace is gone. */
export function pluginEnv(
  command: CniCommand,
  attachment: Attachment | undefined,
  netnsPath: string,
  pluginFolders: readonly string[],
): Record<string, string> {
  const common = { CNI_COMMAND: command, CNI_PATH: pluginFolders.join(':'), PATH: pluginPath, LC_ALL: 'C' };
  if (attachment === undefined) return common;
  return {
    ...common,
    CNI_CONTAINERID: attachment.sandboxId,
    CNI_NETNS: netnsPath,
    CNI_IFNAME: interfaceName,
    CNI_ARGS: attachment.args,
  };
}

/** Plugins call iptables, nft and ip. */
const pluginPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Standard input of a call. */
export function pluginInput(
  network: NetworkConfig,
  plugin: PluginConfig,
  attachment: Attachment | undefined,
  prevResult: JsonObject | undefined,
): string {
  const { plugins: _list, cniVersions: _offered, ...own } = plugin.raw;
  const wanted = Object.entries(attachment?.runtimeConfig ?? {}).filter(([key]) => plugin.capabilities.has(key));
  return JSON.stringify({
    ...own,
    name: network.name,
    cniVersion: network.cniVersion,
    ...(wanted.length === 0 ? {} : { runtimeConfig: Object.fromEntries(wanted) }),
    ...(prevResult === undefined ? {} : { prevResult: asPrevResult(prevResult, network.cniVersion) }),
  });
}

function portMapping(mapping: PortMapping): JsonObject {
  const { hostPort, containerPort, protocol, hostIp } = mapping;
  return { hostPort, containerPort, protocol, ...(hostIp === '' ? {} : { hostIP: hostIp }) };
}

/** The plugin wants bits, and a burst that its token bucket can hold. */
function bandwidth(limits: Bandwidth): JsonObject {
  const burst = 2 ** 31 - 1;
  return {
    ...(limits.ingressBitsPerSecond === undefined
      ? {}
      : { ingressRate: limits.ingressBitsPerSecond, ingressBurst: burst }),
    ...(limits.egressBitsPerSecond === undefined ? {} : { egressRate: limits.egressBitsPerSecond, egressBurst: burst }),
  };
}
