/** Completes an OCI spec with what only the place where the container runs knows. Pure. */
import { posix } from 'node:path';
import { HuskError } from '../base/errors.ts';
import type { PushedFile } from '../gen/agent/v1/agent.ts';
import { type ProcessUser, withHome } from './resolve-user.ts';
import type { OciMount, OciSpec } from './runtime-spec.ts';

/** The pod's files that a container sees; an empty path is not mounted. */
export interface SpecCompletion {
  readonly user: ProcessUser;
  readonly rootfs: string;
  readonly hostnameFile: string;
  readonly resolvConfFile: string;
  readonly shmFolder: string;
  /** Where each pushed file was written, in the same order. */
  readonly files: readonly { readonly source: string; readonly file: PushedFile }[];
  /** Of the pod's volumes; they win over what is mounted by default. */
  readonly mounts?: readonly OciMount[];
}

/** The spec with its user, its root and the pod's own mounts; what the host mounted itself wins. */
export function completeSpec(spec: OciSpec, completion: SpecCompletion): OciSpec {
  const { uid, gid, supplementalGroups, home } = completion.user;
  const process = {
    ...spec.process,
    user: { uid, gid, additionalGids: supplementalGroups },
    env: withHome(spec.process.env, home),
    // Unset, a container would inherit the agent's own protection from the OOM killer.
    oomScoreAdj: spec.process.oomScoreAdj ?? 0,
  };
  // `resolve` and not `normalize`, which would keep a slash at the end.
  const volumes = parentsFirst(completion.mounts ?? []);
  const covered = new Set(volumes.map(({ destination }) => destination));
  const own = spec.mounts.filter((mount) => !covered.has(posix.resolve('/', mount.destination)));
  const taken = new Set([...covered, ...own.map((mount) => posix.resolve('/', mount.destination))]);
  const added = podMounts(spec, completion).filter((mount) => !taken.has(mount.destination));
  return {
    ...spec,
    process,
    root: { path: completion.rootfs, readonly: spec.root?.readonly === true },
    mounts: [...own, ...added, ...volumes],
  };
}

/** A mount inside another one must come after it. */
function parentsFirst(mounts: readonly OciMount[]): OciMount[] {
  const depth = ({ destination }: OciMount): number => destination.split('/').length;
  return mounts.toSorted((one, other) => depth(one) - depth(other));
}

function podMounts(spec: OciSpec, completion: SpecCompletion): OciMount[] {
  const mode = spec.root?.readonly === true ? ['ro'] : [];
  const ownIpc = spec.linux.namespaces.some(({ type, path }) => type === 'ipc' && path === undefined);
  const shm: OciMount = ownIpc
    ? { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: [...guarded, 'mode=1777', 'size=65536k'] }
    : bind(completion.shmFolder, '/dev/shm', guarded);
  const files = completion.files.map(({ source, file }) =>
    bind(source, pushedPath(file.path), ['nosuid', 'nodev', ...(file.readonly ? ['ro'] : [])]),
  );
  const named = new Set(files.map(({ destination }) => destination));
  const own = [
    bind(completion.hostnameFile, '/etc/hostname', [...guarded, ...mode]),
    bind(completion.resolvConfFile, '/etc/resolv.conf', [...guarded, ...mode]),
  ].filter(({ source, destination }) => source !== '' && !named.has(destination));
  return [shm, ...own, ...files];
}

const guarded: readonly string[] = ['nosuid', 'nodev', 'noexec'];

function bind(source: string, destination: string, options: readonly string[]): OciMount {
  return { destination, type: 'bind', source, options: ['bind', 'rprivate', ...options] };
}

/**
 * Checks where a pushed file goes.
 * @throws HuskError `invalid-argument` for a path that is not plain, or below /proc or /sys
 */
export function pushedPath(path: string): string {
  const plain = isPlain(path);
  if (!plain || /^\/(proc|sys)(\/|$)/.test(path)) {
    throw new HuskError(
      'invalid-argument',
      `files: path "${path.slice(0, 200)}": wanted a plain absolute path outside /proc and /sys`,
    );
  }
  return path;
}

/** Absolute, below the root, without `.`, `..` or empty parts. */
export function isPlain(path: string): boolean {
  return path !== '/' && posix.resolve('/', path) === path;
}

/** The process of an exec: the container's own, with another command. */
export function execProcess(spec: OciSpec, command: readonly string[], terminal = false): OciSpec['process'] {
  const { env } = spec.process;
  // A terminal of no known type would make every program that draws guess.
  const withType = terminal && !env.some((line) => line.startsWith('TERM=')) ? [...env, 'TERM=xterm'] : env;
  return { ...spec.process, env: withType, args: [...command], terminal };
}
