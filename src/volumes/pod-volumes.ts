/** The volumes of one VM pod: what each container needs, and copies that follow the host. */
import type { FileHandle } from 'node:fs/promises';
import { isKind } from '../base/errors.ts';
import type { Volume, VolumeMount } from '../gen/agent/v1/agent.ts';
import { type Device, type Mount, MountPropagation } from '../gen/cri/v1/api.ts';
import type { Image } from '../pod/image-view.ts';
import { mappedBy } from '../pod/user-namespace.ts';
import { type ClassifiedMount, classifyDevice, classifyMount } from './classify.ts';
import { type HostFacts, isOwnEmptyDir } from './kinds.ts';
import { type DiskHost, PodDisks } from './pod-disks.ts';
import type { Share } from './share-server.ts';
import { openTree, readTree } from './snapshot.ts';
import { type TreeWatch, watchTree } from './watch.ts';
import { chunkBytes, treeDigest, treeVolumes, volumeId } from './wire.ts';

/** What is asked of the guest and of the image store. */
export interface VolumeHost extends DiskHost {
  /** The pod's name for the kubelet. */
  readonly podUid: string;
  /** Puts the image's layers on the VM's layers disk. @throws HuskError */
  attachImage(
    mount: Mount,
    image: Image | undefined,
  ): Promise<{ readonly imageId: string; readonly layers: ImageLayers }>;
  /** Lets the pod's file server show a path; the name it has there. Starts the server when there is none. */
  share(share: Share): Promise<string>;
}
type ImageLayers = Extract<Volume['kind'], { $case: 'image' }>['value']['layers'];

/** What a container asks for. */
export interface VolumeWish {
  readonly mounts: readonly Mount[];
  readonly devices: readonly Device[];
  /** Images that mounts name, by the name in the mount. */
  readonly images: ReadonlyMap<string, Image>;
}

/** What a container is created with. */
export interface ContainerVolumes {
  readonly volumes: Volume[];
  readonly mounts: VolumeMount[];
}

interface LiveTree {
  readonly id: string;
  readonly idMapped: boolean;
  readonly path: string;
  readonly handle: FileHandle;
  readonly watch: TreeWatch;
  /** Digest of the state that the guest has; empty while that is not known. */
  sent: string;
}

export class PodVolumes {
  readonly #host: VolumeHost;
  readonly #disks: PodDisks;
  readonly #trees = new Map<string, LiveTree>();
  /** Reading a tree and sending it is one step: an older state must not arrive after a newer one. */
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(host: VolumeHost) {
    this.#host = host;
    this.#disks = new PodDisks(host);
  }

  /**
   * Classifies the mounts, brings up what the guest lacks, and runs `create` with the rest.
   * @throws HuskError for a mount that cannot be, naming it, and what `create` throws
   */
  async with<T>(wish: VolumeWish, create: (made: ContainerVolumes) => Promise<T>): Promise<T> {
    const { mounts, devices } = wish;
    if (mounts.length === 0 && devices.length === 0) return create({ volumes: [], mounts: [] });
    return this.#inTurn(async () => {
      const volumes = new Map<string, Volume[]>();
      const asked: VolumeMount[] = [];
      for (const mount of mounts) {
        const { id, states, subPath } = await this.#volumeOf(mount, wish.images);
        volumes.set(id, states);
        asked.push(volumeMount(mount, id, subPath));
      }
      for (const device of devices) {
        const states = await this.#statesOf(await classifyDevice(device));
        const { id } = states[0] as Volume;
        volumes.set(id, states);
        asked.push(deviceMount(device, id));
      }
      return create({ volumes: await this.#inline([...volumes.values()]), mounts: asked });
    });
  }

  /** After a restart of the daemon: follows the host again. What cannot be followed is told, not thrown. */
  async adopt({ mounts, devices }: Pick<VolumeWish, 'mounts' | 'devices'>): Promise<void> {
    for (const device of devices) {
      await classifyDevice(device)
        .then((found) => this.#statesOf(found))
        .catch((caught: unknown) => this.#host.failed(device.hostPath, caught));
    }
    for (const mount of mounts) {
      if (mount.image !== undefined && mount.image.image !== '') continue;
      try {
        const { volume } = await classifyMount(mount);
        // It is plugged in already: asking again only follows it.
        if (volume.kind === 'block') await this.#disks.volumeOf(mount, volume);
        if (volume.kind !== 'tree') continue;
        const tree = await this.#follow(volume.path, isMapped(mount));
        await this.#inTurn(() => this.#send(tree));
      } catch (caught) {
        this.#host.failed(mount.hostPath, caught);
      }
    }
  }

  /** Stops following the host. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { watch } of this.#trees.values()) watch.close();
    await this.#disks.close();
    await this.#inTurn(async () => undefined).catch(() => undefined);
    for (const { handle } of this.#trees.values()) await handle.close();
    this.#trees.clear();
  }

  async #volumeOf(
    mount: Mount,
    images: VolumeWish['images'],
  ): Promise<{ id: string; states: Volume[]; subPath: string }> {
    if (mount.image !== undefined && mount.image.image !== '') {
      const { imageId, layers } = await this.#host.attachImage(mount, images.get(mount.image.image));
      const id = volumeId('image', imageId, isMapped(mount));
      const states: Volume[] = [{ id, kind: { $case: 'image', value: { layers } }, idMapped: isMapped(mount) }];
      return { id, states, subPath: mount.imageSubPath };
    }
    const classified = await classifyMount(mount);
    const states = await this.#statesOf(classified);
    return { id: (states[0] as Volume).id, states, subPath: classified.subPath };
  }

  async #statesOf({ volume, facts, mount }: ClassifiedMount): Promise<Volume[]> {
    const { mode, uid, gid } = facts;
    const idMapped = isMapped(mount);
    const id = volumeId(volume.kind, volume.path, idMapped);
    switch (volume.kind) {
      case 'tree': {
        return (await this.#treeOf(volume.path, idMapped)) ?? [await this.#shareOf(mount, facts)];
      }
      case 'memory':
        return [
          { id, kind: { $case: 'tmpfs', value: { sizeBytes: BigInt(volume.sizeBytes), mode, uid, gid } }, idMapped },
        ];
      case 'share':
        return [await this.#shareOf(mount, facts)];
      case 'block':
        return [await this.#disks.volumeOf(mount, volume)];
    }
  }

  /** Undefined when it is too much to be copied, or holds what cannot be. */
  async #treeOf(path: string, idMapped: boolean): Promise<Volume[] | undefined> {
    const tree = await this.#follow(path, idMapped);
    try {
      const files = await readTree(tree.handle, tree.path);
      tree.sent = treeDigest(files);
      return treeVolumes(tree, files);
    } catch (caught) {
      if (!isKind(caught, 'resource-exhausted') && !isKind(caught, 'failed-precondition')) throw caught;
      await this.#unfollow(tree);
      return undefined;
    }
  }

  async #shareOf(mount: Mount, { path, type, partOf }: HostFacts): Promise<Volume> {
    const { readonly, recursiveReadOnly, propagation } = mount;
    const access = recursiveReadOnly ? 'rro' : readonly ? 'ro' : 'rw';
    const hostToContainer = propagation === MountPropagation.PROPAGATION_HOST_TO_CONTAINER;
    const mapped = mappedBy(mount.uidMappings, mount.gidMappings);
    const own = isOwnEmptyDir(partOf?.path ?? path, this.#host.podUid);
    const name = await this.#host.share({ path, isFile: type === 'file', access, hostToContainer, own, mapped });
    return { id: volumeId('share', name), kind: { $case: 'share', value: { name } }, idMapped: isMapped(mount) };
  }

  /** What fits goes with the container; what does not goes ahead of it. */
  async #inline(states: readonly Volume[][]): Promise<Volume[]> {
    const inline: Volume[] = [];
    let room = chunkBytes;
    for (const volume of states) {
      const bytes = volume.reduce((sum, each) => sum + bytesOf(each), 0);
      if (volume.length === 1 && bytes <= room) {
        inline.push(...volume);
        room -= bytes;
      } else {
        for (const each of volume) await this.#host.put(each);
      }
    }
    return inline;
  }

  async #follow(path: string, idMapped: boolean): Promise<LiveTree> {
    const id = volumeId('tree', path, idMapped);
    const known = this.#trees.get(id);
    if (known !== undefined) return known;
    const handle = await openTree(path);
    const failed = (caught: unknown): void => this.#host.failed(path, caught);
    const watch = watchTree(`/proc/self/fd/${handle.fd}`, () => this.#inTurn(() => this.#send(tree)), failed);
    const tree: LiveTree = { id, idMapped, path, handle, watch, sent: '' };
    this.#trees.set(id, tree);
    return tree;
  }

  async #unfollow(tree: LiveTree): Promise<void> {
    tree.watch.close();
    this.#trees.delete(tree.id);
    await tree.handle.close();
  }

  async #send(tree: LiveTree): Promise<void> {
    if (this.#closed || this.#trees.get(tree.id) !== tree) return;
    const files = await readTree(tree.handle, tree.path);
    const digest = treeDigest(files);
    if (digest === tree.sent) return;
    tree.sent = '';
    for (const volume of treeVolumes(tree, files)) await this.#host.put(volume);
    tree.sent = digest;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }
}

/** Its files belong to ids of the pod's user namespace. */
function isMapped({ uidMappings, gidMappings }: Mount): boolean {
  return mappedBy(uidMappings, gidMappings) !== undefined;
}

function volumeMount(mount: Mount, volumeId: string, subPath: string): VolumeMount {
  const isImage = mount.image !== undefined && mount.image.image !== '';
  return {
    volumeId,
    subPath,
    containerPath: mount.containerPath,
    readonly: mount.readonly,
    recursiveReadonly: mount.recursiveReadOnly,
    createSubPath: subPath !== '' && !isImage,
    deviceAccess: '',
  };
}

function deviceMount({ containerPath, permissions }: Device, volumeId: string): VolumeMount {
  const deviceAccess = permissions || 'rwm';
  const readonly = !deviceAccess.includes('w');
  return {
    volumeId,
    subPath: '',
    containerPath,
    readonly,
    recursiveReadonly: false,
    createSubPath: false,
    deviceAccess,
  };
}

function bytesOf({ kind }: Volume): number {
  if (kind?.$case !== 'tree') return 64;
  return kind.value.entries.reduce(
    (sum, { path, kind: node }) =>
      sum + path.length + 24 + (node === undefined || node.$case === 'folder' ? 0 : node.value.length),
    0,
  );
}
