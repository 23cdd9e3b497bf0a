/** A container's root file system: its layers below, a writable folder above, joined by overlayfs. */
import { chown, mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { UserFiles } from '../oci/resolve-user.ts';
import type { UserNamespace } from '../pod/user-namespace.ts';
import type { LayerMounts } from './layer-mounts.ts';
import { mount, unmountBelow } from './mounts.ts';
import type { ContainerPlaces } from './places.ts';
import { readInRoot } from './read-in-root.ts';
import { bindMapped } from './user-namespace.ts';

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
  /** Whose own the layers and what is written are to be; undefined: as they are. */
  readonly mapped: { readonly namespace: UserNamespace; readonly program: string } | undefined;
}

/** Mounts the root. On error `unmountRoot` has to be called as well. */
export async function mountRoot(mounts: LayerMounts, wish: RootWish): Promise<void> {
  const { places } = wish;
  const [upper, work] = [join(places.data, 'upper'), join(places.data, 'work')];
  for (const folder of [upper, places.rootfs]) await mkdir(folder, { recursive: true, mode: 0o755 });
  for (const folder of [work, places.links]) await mkdir(folder, { recursive: true, mode: 0o700 });
  const access = [...(wish.devices ? [] : ['nodev']), ...(wish.setuid ? [] : ['nosuid'])];
  const points = await mounts.take(wish.containerId, wish.layers);
  // The links also tell a later daemon who uses a layer.
  for (const [index, point] of points.entries()) await symlink(point, join(places.links, String(index)));
  if (wish.mapped !== undefined) await mapRoot(places, { upper, points }, wish.mapped);
  const names = points.map((_, index) => join(wish.mapped === undefined ? 'l' : 'm', String(index)));
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

/**
 * Shows the layers under their numbers with the owners of the user namespace. What is written above has these owners on
 * the disk: overlayfs works there as the host's root, which a mapped mount does not know.
 */
async function mapRoot(
  { mapped }: ContainerPlaces,
  { upper, points }: { readonly upper: string; readonly points: readonly string[] },
  { namespace, program }: NonNullable<RootWish['mapped']>,
): Promise<void> {
  await chown(upper, namespace.uids.hostId, namespace.gids.hostId);
  for (const [index, point] of points.entries()) {
    await bindMapped(program, namespace, { source: point, target: join(mapped, String(index)), access: 'ro' });
  }
}

/** Takes the root away, with what was written, and the image volumes. Absent is fine. */
export async function unmountRoot(mounts: LayerMounts, containerId: string, places: ContainerPlaces): Promise<void> {
  await unmountBelow(places.rootfs);
  await unmountBelow(places.images);
  await unmountBelow(places.mapped);
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
