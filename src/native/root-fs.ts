/** A container's root file system: its layers below, a writable folder above, joined by overlayfs. */
import { mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { UserFiles } from '../oci/resolve-user.ts';
import type { LayerMounts } from './layer-mounts.ts';
import { mount, unmountBelow } from './mounts.ts';
import type { ContainerPlaces } from './places.ts';
import { readInRoot } from './read-in-root.ts';

/** The image's passwd and group files are hostile: beyond this they are taken as absent (CVE-2026-47262). */
const maxUserFileBytes = 1024 * 1024;

export interface RootWish {
  readonly containerId: string;
  readonly places: ContainerPlaces;
  readonly layers: readonly { readonly path: string }[];
  /** Device nodes in the root work: only for privileged containers. */
  readonly devices: boolean;
  /** Programs in the root may gain privileges when they are run. */
  readonly setuid: boolean;
}

/** Mounts the root. On error `unmountRoot` has to be called as well. */
export async function mountRoot(mounts: LayerMounts, wish: RootWish): Promise<void> {
  const { places } = wish;
  const [upper, work] = [join(places.data, 'upper'), join(places.data, 'work')];
  for (const folder of [upper, places.rootfs]) await mkdir(folder, { recursive: true, mode: 0o755 });
  for (const folder of [work, places.links]) await mkdir(folder, { recursive: true, mode: 0o700 });
  const access = [...(wish.devices ? [] : ['nodev']), ...(wish.setuid ? [] : ['nosuid'])];
  const points = await mounts.take(wish.containerId, onceEach(wish.layers));
  // The links also tell a later daemon who uses a layer.
  for (const [index, point] of points.entries()) await symlink(point, join(places.links, String(index)));
  const names = points.map((_, index) => join('l', String(index)));
  if (points.length === 0) {
    return mount({ source: upper, target: places.rootfs, options: ['bind', ...access] });
  }
  // `volatile`: the layer ends with the container, so writing it back early serves nobody.
  const layers = [`lowerdir=${names.toReversed().join(':')}`, `upperdir=${upper}`, `workdir=${work}`, 'volatile'];
  await mount({
    type: 'overlay',
    source: 'overlay',
    target: places.rootfs,
    options: [...layers, ...access],
    cwd: places.folder,
  });
}

/** Overlayfs takes no layer twice. Of a repeated one the upper place decides what is seen. */
function onceEach<T extends { readonly path: string }>(layers: readonly T[]): T[] {
  return layers.filter(({ path }, index) => layers.findLastIndex((other) => other.path === path) === index);
}

/** Takes the root away, with what was written. Absent is fine. */
export async function unmountRoot(mounts: LayerMounts, containerId: string, places: ContainerPlaces): Promise<void> {
  await unmountBelow(places.rootfs);
  await mounts.giveBack(containerId);
  await rm(places.data, { recursive: true, force: true });
}

/** The image's own passwd and group files, before any process runs in the root. */
export async function readUserFiles(rootfs: string): Promise<UserFiles> {
  return {
    passwd: await readInRoot(rootfs, 'etc/passwd', maxUserFileBytes),
    group: await readInRoot(rootfs, 'etc/group', maxUserFileBytes),
  };
}
