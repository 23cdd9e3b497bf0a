/** What a pod asks of the network, whatever runs it. Pure. */
import type { PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { SandboxRecord } from './records.ts';

type IpProtocol = 'tcp' | 'udp' | 'sctp';
const protocols: readonly IpProtocol[] = ['tcp', 'udp', 'sctp'];

/** `src/network` calls this a NetworkRequest; shape kept compatible by the compiler. */
export interface NetworkWish {
  readonly sandboxId: string;
  readonly netnsPath: string;
  readonly podName: string;
  readonly podNamespace: string;
  readonly podUid: string;
  readonly portMappings: readonly {
    readonly protocol: IpProtocol;
    readonly containerPort: number;
    readonly hostPort: number;
    readonly hostIp: string;
  }[];
}

/** The pod's network as CNI is asked for it: the same for ADD and DEL. */
export function networkWish(record: SandboxRecord, config: PodSandboxConfig, netnsPath: string): NetworkWish {
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
