import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { HuskError } from '../../../src/base/errors.ts';
import type { HelloRequest, HelloResponse } from '../../../src/gen/agent/v1/agent.ts';
import type { Pod } from '../pod.ts';

const maxNonceBytes = 64;

/** Hello: says who answers. The first call after a clone, so it does as little as can be. */
export function hello(pod: Pod, runtimeVersion: string, { nonce }: HelloRequest): HelloResponse {
  if (nonce.length > maxNonceBytes)
    throw new HuskError('invalid-argument', `nonce: ${nonce.length} bytes, at most ${maxNonceBytes}`);
  return {
    nonce,
    guestImage: imageVersion(pod.settings.imageVersionFile),
    kernelRelease: release(),
    ociRuntimeVersion: runtimeVersion,
    configured: pod.configured !== undefined,
  };
}

function imageVersion(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return 'unknown';
  }
}
