import type { VersionResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';

/** Version: clients require all four, and a semantic version in `runtime_version`. */
export function runtimeVersion({ info }: Pick<CriContext, 'info'>): VersionResponse {
  return { version: '0.1.0', runtimeName: 'husk', runtimeVersion: info.version, runtimeApiVersion: 'v1' };
}
