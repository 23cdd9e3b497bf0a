import { CgroupDriver, type RuntimeConfigResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';

/** RuntimeConfig: always explicit, since the enum's zero says systemd (KEP-4033). */
export function runtimeConfig({ info }: Pick<CriContext, 'info'>): RuntimeConfigResponse {
  return { linux: { cgroupDriver: info.cgroupDriver === 'systemd' ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS } };
}
