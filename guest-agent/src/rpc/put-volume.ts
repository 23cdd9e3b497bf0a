import { HuskError } from '../../../src/base/errors.ts';
import type { PutVolumeRequest, PutVolumeResponse } from '../../../src/gen/agent/v1/agent.ts';
import type { Pod } from '../pod.ts';

/** PutVolume: makes a volume, or brings a pushed one up to date. */
export async function putVolume(pod: Pod, { volume }: PutVolumeRequest): Promise<PutVolumeResponse> {
  if (!pod.configured) throw new HuskError('failed-precondition', 'put volume: the sandbox is not configured yet');
  if (volume === undefined) throw new HuskError('invalid-argument', 'volume: must be set');
  await pod.volumes.put(volume);
  return {};
}
