import { isIP } from 'node:net';
import type { UpdateRuntimeConfigRequest, UpdateRuntimeConfigResponse } from '../gen/cri/v1/api.ts';
import { refuse, text } from '../pod/validate/check.ts';
import type { CriContext } from './context.ts';

const field = 'runtime_config.network_config.pod_cidr';

/** UpdateRuntimeConfig: the node's pod CIDR, one of each family at most; empty: nothing new. */
export async function updateRuntimeConfig(
  { network }: Pick<CriContext, 'network'>,
  request: UpdateRuntimeConfigRequest,
): Promise<UpdateRuntimeConfigResponse> {
  const cidr = request.runtimeConfig?.networkConfig?.podCidr ?? '';
  if (cidr === '') return {};
  text(field, cidr, { max: 128 });
  const families = cidr.split(',').map(familyOf);
  if (families.includes(0)) refuse(field, cidr, 'wanted CIDRs such as "10.88.0.0/16,fd00::/64"');
  if (new Set(families).size !== families.length) refuse(field, cidr, 'wanted at most one CIDR of each IP family');
  await network.setPodCidr(cidr);
  return {};
}

/** 4, 6, or 0 for what is no CIDR. */
function familyOf(cidr: string): number {
  const [, address = '', length = ''] = /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(cidr.trim()) ?? [];
  const family = isIP(address);
  return Number(length) <= (family === 4 ? 32 : 128) ? family : 0;
}
