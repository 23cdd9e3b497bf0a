/** CRI's mounts as OCI mounts of a native container. */
import { mkdir, readFile, realpath } from 'node:fs/promises';
import { posix } from 'node:path';
import { HuskError, isErrno } from '../base/errors.ts';
import { type Mount, MountPropagation } from '../gen/cri/v1/api.ts';
import type { OciMount } from '../oci/runtime-spec.ts';
import { mappedBy } from '../pod/user-namespace.ts';
import type { ImageSource } from './image-volumes.ts';
import { bindMapped } from './user-namespace.ts';

export interface BindMounts {
  readonly mounts: readonly OciMount[];
  /** What the propagation of the mounts asks of the container's root; undefined: nothing. */
  readonly rootPropagation: 'rshared' | 'rslave' | undefined;
}

/**
 * Binds of host paths, in an order in which none hides an earlier one.
 *
 * A source that does not exist is made as a folder, as containerd does; a link is followed, once,
 * here. Both are the kubelet's word.
 *
 * @throws HuskError `invalid-argument`, `failed-precondition` when the host's mount does not
 *   propagate, `unimplemented` for mapped mounts that are to propagate to the host
 */
export async function bindMounts(wishes: readonly Mount[], mapper: Mapper): Promise<BindMounts> {
  const mounts: OciMount[] = [];
  for (const [index, wish] of wishes.entries()) {
    const image = mapper.imageSources.get(index);
    if (image !== undefined) {
      mounts.push({
        destination: posix.resolve('/', wish.containerPath),
        type: 'bind',
        source: image.source,
        options: [...image.options],
      });
      continue;
    }
    const mount = await bindMount(wish, `config.mounts[${index}]`);
    mounts.push(await mapped(wish, mount, { ...mapper, index }));
  }
  const asked = new Set(wishes.map(({ propagation }) => propagation));
  return {
    mounts: mounts
      .map((mount, index) => ({ mount, index, depth: mount.destination.split('/').length }))
      .sort((a, b) => a.depth - b.depth || a.index - b.index)
      .map(({ mount }) => mount),
    rootPropagation: asked.has(MountPropagation.PROPAGATION_BIDIRECTIONAL)
      ? 'rshared'
      : asked.has(MountPropagation.PROPAGATION_HOST_TO_CONTAINER)
        ? 'rslave'
        : undefined,
  };
}

/** What mounts with mapped owners are made with, the folder that they are made in, and image volumes, which are made. */
interface Mapper {
  /** The compiled husk-userns. */
  readonly program: string;
  readonly folder: string;
  readonly imageSources: ReadonlyMap<number, ImageSource>;
}

/** The mount with its owners mapped: it is made here, read-only or not, and the container's is another of it. */
async function mapped(wish: Mount, mount: OciMount, at: Mapper & { readonly index: number }): Promise<OciMount> {
  const namespace = mappedBy(wish.uidMappings, wish.gidMappings);
  if (namespace === undefined) return mount;
  const { index, program, folder } = at;
  if (wish.propagation === MountPropagation.PROPAGATION_BIDIRECTIONAL) {
    throw new HuskError(
      'unimplemented',
      `config.mounts[${index}].propagation "BIDIRECTIONAL": a mount with mapped owners does not propagate to the host`,
    );
  }
  const target = posix.join(folder, `v${index}`);
  const access = wish.recursiveReadOnly ? 'rro' : wish.readonly ? 'ro' : 'rw';
  const slave = wish.propagation === MountPropagation.PROPAGATION_HOST_TO_CONTAINER;
  await bindMapped(program, namespace, { source: mount.source, target, access, slave });
  return { ...mount, source: target, options: ['rbind', slave ? 'rslave' : 'rprivate'] };
}

async function bindMount(wish: Mount, field: string): Promise<OciMount> {
  const source = await sourceOf(wish.hostPath, field);
  return {
    destination: posix.resolve('/', wish.containerPath),
    type: 'bind',
    source,
    options: [
      'rbind',
      await propagationOf(wish, source, field),
      wish.readonly ? 'ro' : 'rw',
      // runC 1.1 and later: read-only also where something else is mounted below.
      ...(wish.recursiveReadOnly ? ['rro'] : []),
    ],
  };
}

async function sourceOf(hostPath: string, field: string): Promise<string> {
  try {
    return await realpath(hostPath);
  } catch (caught) {
    if (!isErrno(caught, 'ENOENT')) throw badSource(hostPath, field, caught);
  }
  try {
    await mkdir(hostPath, { recursive: true, mode: 0o755 });
    return await realpath(hostPath);
  } catch (caught) {
    throw badSource(hostPath, field, caught);
  }
}

function badSource(hostPath: string, field: string, cause: unknown): HuskError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new HuskError('invalid-argument', `${field}.host_path "${hostPath.slice(0, 200)}": ${why}`, { cause });
}

async function propagationOf(wish: Mount, source: string, field: string): Promise<string> {
  switch (wish.propagation) {
    case MountPropagation.PROPAGATION_BIDIRECTIONAL:
      await checkPropagation(source, ['shared:'], `${field}.propagation "BIDIRECTIONAL"`);
      return 'rshared';
    case MountPropagation.PROPAGATION_HOST_TO_CONTAINER:
      await checkPropagation(source, ['shared:', 'master:'], `${field}.propagation "HOST_TO_CONTAINER"`);
      return 'rslave';
    default:
      return 'rprivate';
  }
}

/** The kernel ignores what cannot be: a tenant would wait for mounts that never come. */
async function checkPropagation(source: string, wanted: readonly string[], field: string): Promise<void> {
  const tags = propagationTags(await readFile('/proc/self/mountinfo', 'utf8'), source);
  if (wanted.some((tag) => tags.some((found) => found.startsWith(tag)))) return;
  throw new HuskError(
    'failed-precondition',
    `${field}: the host's mount of "${source.slice(0, 200)}" is private, so nothing is propagated`,
    { hint: `make it shared: mount --make-rshared on the mount point of ${source.slice(0, 200)}` },
  );
}

/** The propagation fields (proc(5), mountinfo) of the mount that a path is on. Pure. */
export function propagationTags(mountinfo: string, path: string): readonly string[] {
  let best: { readonly point: string; readonly tags: readonly string[] } = { point: '', tags: [] };
  for (const line of mountinfo.split('\n')) {
    const [left = ''] = line.split(' - ');
    const fields = left.split(' ');
    const point = fields[4];
    if (point === undefined) continue;
    const covers = point === '/' || path === point || path.startsWith(`${point}/`);
    // Of mounts at one point the last one is on top.
    if (covers && point.length >= best.point.length) best = { point, tags: fields.slice(6) };
  }
  return best.tags;
}
