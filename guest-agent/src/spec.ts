/** Reads the OCI spec that the host wrote. Pure. */
import { HuskError } from '../../src/base/errors.ts';
import { isPlain } from '../../src/oci/complete-spec.ts';
import type { OciSpec } from '../../src/oci/runtime-spec.ts';

/**
 * Reads the host's config.json. The host is trusted with its content; only what the agent
 * itself relies on is checked.
 *
 * @throws HuskError `invalid-argument`
 */
export function parseSpec(json: Uint8Array): OciSpec {
  let spec: Partial<OciSpec>;
  try {
    spec = JSON.parse(Buffer.from(json).toString('utf8')) as Partial<OciSpec>;
  } catch (cause) {
    throw new HuskError('invalid-argument', 'spec_json: no JSON text', { cause });
  }
  const { process, linux } = spec ?? {};
  if (
    !Array.isArray(process?.args) ||
    !Array.isArray(process.env) ||
    !Array.isArray(spec.mounts) ||
    linux === undefined
  ) {
    throw new HuskError('invalid-argument', 'spec_json: process.args, process.env, mounts or linux is missing');
  }
  const path = linux.cgroupsPath;
  if (typeof path !== 'string' || !isPlain(path)) {
    throw new HuskError('invalid-argument', `spec_json: linux.cgroupsPath "${path}": wanted a plain absolute path`);
  }
  return spec as OciSpec;
}
