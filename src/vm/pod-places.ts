/** Where a VM pod's files lie, and what must be the same in every step of its life. Pure. */
import { join } from 'node:path';
import type { PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { NetworkRequest, PortMapping } from '../network/network.ts';
import type { SandboxRecord } from '../pod/records.ts';

/** The pod's folder below the state folder and below the data folder. */
export function podFolders(
  options: { readonly stateFolder: string; readonly dataFolder: string },
  sandboxId: string,
): { readonly state: string; readonly data: string } {
  return { state: join(options.stateFolder, 'pods', sandboxId), data: join(options.dataFolder, 'pods', sandboxId) };
}

/** The position file of a container's log. */
export function logPositionPath(dataFolder: string, containerId: string): string {
  return join(dataFolder, `${containerId}.log-position`);
}

const protocols: readonly PortMapping['protocol'][] = ['tcp', 'udp', 'sctp'];

/** The pod's network as CNI is asked for it: the same for ADD and DEL. */
export function networkRequest(record: SandboxRecord, config: PodSandboxConfig, netnsPath: string): NetworkRequest {
  return {
    sandboxId: record.id,
    netnsPath,
    podName: record.metadata.name,
    podNamespace: record.metadata.namespace,
    podUid: record.metadata.uid,
    portMappings: config.portMappings
      .filter(({ hostPort }) => hostPort > 0)
      .map((mapping) => ({
        protocol: protocols[mapping.protocol] ?? 'tcp',
        containerPort: mapping.containerPort,
        hostPort: mapping.hostPort,
        hostIp: mapping.hostIp,
      })),
  };
}

/** The pod's hostname: as asked, else its name cut to what the kernel takes (64). */
export function podHostname(config: PodSandboxConfig, record: SandboxRecord): string {
  return config.hostname !== '' ? config.hostname : record.metadata.name.slice(0, 63);
}
