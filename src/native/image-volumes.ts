/** Image volumes of a native container: the layers of an image, joined read-only, at a folder of the container's. */
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { HuskError } from '../base/errors.ts';
import type { Mount } from '../gen/cri/v1/api.ts';
import type { Image } from '../pod/image-view.ts';
import { mappedBy, type UserNamespace } from '../pod/user-namespace.ts';
import type { LayerMounts } from './layer-mounts.ts';
import { mount } from './mounts.ts';
import type { ContainerPlaces } from './places.ts';
import { resolveInRoot } from './read-in-root.ts';
import { bindMapped } from './user-namespace.ts';

/** Root of a user namespace may not take these away, so every mount made of one names them again. */
const flags = ['ro', 'nodev', 'nosuid'] as const;

export interface ImageVolumesWish {
  readonly containerId: string;
  readonly places: ContainerPlaces;
  readonly mounts: readonly Mount[];
  /** By the name in the mount. */
  readonly images: ReadonlyMap<string, Image>;
  /** The compiled husk-userns. */
  readonly program: string;
}

/** A folder or file to be bound, and what the bind is to be mounted with. */
export interface ImageSource {
  readonly source: string;
  readonly options: readonly string[];
}

export function isImageVolume({ image }: Mount): boolean {
  return image !== undefined && image.image !== '';
}

/**
 * Mounts them. On error `unmountRoot` has to be called as well.
 * @returns what to bind, by the mount's place in the list
 * @throws HuskError `failed-precondition` when the image has no such sub-path; its message begins as the kubelet expects
 *   it (ErrImageVolumeMountFailed, cri-api/pkg/errors)
 */
export async function mountImageVolumes(
  layers: LayerMounts,
  wish: ImageVolumesWish,
): Promise<ReadonlyMap<number, ImageSource>> {
  const sources = new Map<number, ImageSource>();
  for (const [index, asked] of wish.mounts.entries()) {
    if (!isImageVolume(asked)) continue;
    const image = wish.images.get(asked.image?.image ?? '');
    if (image === undefined) {
      throw new HuskError('internal', `config.mounts[${index}].image "${asked.image?.image}": it was not looked up`);
    }
    const root = await mountImage(layers, wish, {
      index,
      image,
      namespace: mappedBy(asked.uidMappings, asked.gidMappings),
    });
    sources.set(index, { source: await subPathOf(asked, root), options: ['rbind', 'rprivate', ...flags] });
  }
  return sources;
}

/** Overlayfs without an upper folder wants two below: an empty one serves for an image of a single layer. */
async function mountImage(
  layers: LayerMounts,
  { containerId, places, program }: ImageVolumesWish,
  volume: { readonly index: number; readonly image: Image; readonly namespace: UserNamespace | undefined },
): Promise<string> {
  const { index, image, namespace } = volume;
  const root = join(places.images, String(index));
  const points = await layers.take(containerId, image.layers);
  const names: string[] = [];
  for (const [number, point] of points.entries()) {
    const name = `i${index}.${number}`;
    await symlink(point, join(places.links, name));
    if (namespace !== undefined) {
      await bindMapped(program, namespace, { source: point, target: join(places.mapped, name), access: 'ro' });
    }
    names.unshift(join(namespace === undefined ? 'l' : 'm', name));
  }
  await mkdir(root, { recursive: true, mode: 0o755 });
  for (const empty of ['e0', 'e1'].slice(Math.min(2, points.length))) {
    await mkdir(join(places.images, empty), { recursive: true, mode: 0o755 });
    names.push(join('i', empty));
  }
  const options = [`lowerdir=${names.join(':')}`, ...flags];
  await mount({ type: 'overlay', source: 'overlay', target: root, options, cwd: places.folder });
  return root;
}

/** The image does not change, so what a link in it leads to now is what is bound later. */
async function subPathOf({ imageSubPath, containerPath }: Mount, root: string): Promise<string> {
  const found = await resolveInRoot(root, imageSubPath);
  if (found !== undefined) return found;
  throw new HuskError(
    'failed-precondition',
    `ImageVolumeMountFailed: mount "${containerPath.slice(0, 200)}": sub-path "${imageSubPath.slice(0, 200)}": no such file or folder in the image`,
    { hint: 'name a file or folder that the image has, relative to its root, as the sub-path' },
  );
}
