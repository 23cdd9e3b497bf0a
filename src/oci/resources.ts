/** CRI resource limits as OCI resources. Zero means "not set" in CRI. */

import { HuskError } from '../base/errors.ts';
import type { LinuxContainerResources } from '../gen/cri/v1/api.ts';
import type { OciResources } from './runtime-spec.ts';

/**
 * @param privileged all devices are open then; else none but those the OCI runtime always gives
 * @throws HuskError `invalid-argument` for a number out of the kernel's range
 */
export function ociResources(resources: LinuxContainerResources | undefined, privileged: boolean): OciResources {
  const devices = [{ allow: privileged, access: 'rwm' }];
  if (resources === undefined) return { devices };
  const memory = {
    ...positive('memory_limit_in_bytes', resources.memoryLimitInBytes, 'limit'),
    // -1 is how CRI and the runtime spec say that swap has no limit.
    ...(resources.memorySwapLimitInBytes === -1n
      ? { swap: -1 }
      : positive('memory_swap_limit_in_bytes', resources.memorySwapLimitInBytes, 'swap')),
  };
  const cpu = {
    ...positive('cpu_shares', resources.cpuShares, 'shares'),
    ...(resources.cpuQuota === 0n ? {} : { quota: Number(resources.cpuQuota) }),
    ...positive('cpu_period', resources.cpuPeriod, 'period'),
    ...(resources.cpusetCpus === '' ? {} : { cpus: resources.cpusetCpus }),
    ...(resources.cpusetMems === '' ? {} : { mems: resources.cpusetMems }),
  };
  return {
    devices,
    ...(Object.keys(memory).length === 0 ? {} : { memory }),
    ...(Object.keys(cpu).length === 0 ? {} : { cpu }),
    ...(resources.hugepageLimits.length === 0
      ? {}
      : {
          hugepageLimits: resources.hugepageLimits.map((page) => ({
            pageSize: page.pageSize,
            limit: Number(page.limit),
          })),
        }),
    ...(Object.keys(resources.unified).length === 0 ? {} : { unified: { ...resources.unified } }),
  };
}

function positive<K extends string>(field: string, value: bigint, key: K): Partial<Record<K, number>> {
  if (value === 0n) return {};
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new HuskError(
      'invalid-argument',
      `config.linux.resources.${field} "${value}": must not be negative or above 2^53`,
    );
  }
  const entry: Partial<Record<K, number>> = {};
  entry[key] = Number(value);
  return entry;
}
