/** Seccomp profiles that lie on the node. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HuskError } from '../base/errors.ts';
import type { ContainerConfig } from '../gen/cri/v1/api.ts';
import type { OciSeccomp } from './runtime-spec.ts';

const maxSeccompBytes = 1024 * 1024;
const seccompField = 'config.linux.security_context.seccomp.localhost_ref';

/**
 * Reads a `Localhost` profile: a file of the node, so it is the host that reads it.
 *
 * @returns undefined when the container asks for another kind
 * @throws HuskError `invalid-argument` for a path, a size or a content that is no profile
 */
export async function readLocalhostSeccomp(config: ContainerConfig): Promise<OciSeccomp | undefined> {
  const asked = config.linux?.securityContext?.seccomp;
  if (asked?.profileType !== 2) return undefined;
  const path = asked.localhostRef;
  if (!path.startsWith('/') || dirname(path).split('/').includes('..')) {
    throw new HuskError(
      'invalid-argument',
      `${seccompField} "${path.slice(0, 200)}": must be an absolute path without ".."`,
    );
  }
  try {
    const profile: unknown = JSON.parse(await readRegular(path));
    if (isSeccomp(profile)) return profile;
    throw new HuskError('invalid-argument', 'not a seccomp profile: defaultAction and syscalls are missing');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HuskError('invalid-argument', `${seccompField} "${path.slice(0, 200)}": ${why}`, { cause });
  }
}

/** A device has no size and may have no end, a fifo no writer: neither may hold the daemon up. */
async function readRegular(path: string): Promise<string> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const stats = await file.stat();
  if (!stats.isFile()) throw new HuskError('invalid-argument', 'not a regular file');
  if (stats.size > maxSeccompBytes) {
    throw new HuskError('invalid-argument', `${stats.size} bytes, at most ${maxSeccompBytes}`);
  }
  return await file.readFile('utf8');
}

function isSeccomp(value: unknown): value is OciSeccomp {
  if (typeof value !== 'object' || value === null) return false;
  const profile: Partial<Record<keyof OciSeccomp, unknown>> = value;
  return (
    typeof profile.defaultAction === 'string' && (profile.syscalls === undefined || Array.isArray(profile.syscalls))
  );
}
