/** Layer images, each mounted once for all containers that use it. */
import { mkdir, readdir, readlink, rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { HuskError, isErrno } from '../base/errors.ts';
import { mount, mountsBelow, unmountBelow } from './mounts.ts';
import { podPlaces, sharedPlaces } from './places.ts';

type Folders = { readonly stateFolder: string; readonly dataFolder: string };

/**
 * Who uses a layer is kept on the disk, as the links in the containers' folders, and read back
 * at start: a daemon that dies forgets no mount. The loop devices free themselves with the mount.
 */
export class LayerMounts {
  readonly #folder: string;
  /** Container ids by the layer's name. */
  readonly #users = new Map<string, Set<string>>();
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Finds the mounts of an earlier daemon and takes away those that nobody uses. */
  static async open(folders: Folders): Promise<LayerMounts> {
    const { layers, pods } = sharedPlaces(folders);
    const mounts = new LayerMounts(layers);
    await mkdir(layers, { recursive: true, mode: 0o700 });
    for (const sandboxId of await list(pods)) {
      const { containers } = podPlaces(folders, sandboxId);
      for (const containerId of await list(containers)) {
        const links = join(containers, containerId, 'l');
        for (const link of await list(links)) mounts.#use(basename(await readlink(join(links, link))), containerId);
      }
    }
    for (const name of await list(layers)) if (!mounts.#users.has(name)) await mounts.#unmount(name);
    return mounts;
  }

  /**
   * Mounts the layers for a container. Call `giveBack` also when this throws.
   *
   * @param layers image files, lowest first
   * @returns their mount points, in the same order, each once: the uppermost place of a repeated layer decides what is
   *   seen, and overlayfs takes none twice
   */
  take(containerId: string, layers: readonly { readonly path: string }[]): Promise<string[]> {
    return this.#inTurn(async () => {
      const wanted = onceEach(layers.map((layer) => layer.path)).map((path) => {
        const name = layerName(path);
        return { path, name, point: join(this.#folder, name) };
      });
      for (const { name } of wanted) this.#use(name, containerId);
      const there = new Set(await mountsBelow(this.#folder));
      const missing = wanted.filter(({ point }) => !there.has(point));
      // All at once, and all to their end: what is mounted after an error is given back as well.
      const mounted = await Promise.allSettled(missing.map(({ path, point }) => mountLayer(path, point)));
      const failed = mounted.find((result) => result.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
      return wanted.map(({ point }) => point);
    });
  }

  /** Unmounts the layers that nobody else uses. None taken: nothing to do. */
  giveBack(containerId: string): Promise<void> {
    return this.#inTurn(async () => {
      for (const [name, users] of this.#users) {
        if (!users.has(containerId)) continue;
        if (users.size === 1) await this.#unmount(name);
        users.delete(containerId);
        if (users.size === 0) this.#users.delete(name);
      }
    });
  }

  #use(name: string, containerId: string): void {
    const users = this.#users.get(name) ?? new Set();
    users.add(containerId);
    this.#users.set(name, users);
  }

  async #unmount(name: string): Promise<void> {
    const point = join(this.#folder, name);
    await unmountBelow(point);
    await rmdir(point).catch((caught: unknown) => {
      if (!isErrno(caught, 'ENOENT')) throw caught;
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#turn.then(work);
    this.#turn = next.catch(() => undefined);
    return next;
  }
}

function onceEach(paths: readonly string[]): string[] {
  return paths.filter((path, index) => paths.lastIndexOf(path) === index);
}

/** The whole digest: a shorter name could be forged by a layer made for it. */
function layerName(path: string): string {
  const name = basename(path, '.sqfs');
  if (/^[0-9a-f]{64}$/.test(name)) return name;
  throw new HuskError('internal', `mount layer "${path}": wanted a file named by a digest`);
}

async function mountLayer(path: string, point: string): Promise<void> {
  await mkdir(point, { recursive: true, mode: 0o700 });
  await mount({ type: 'squashfs', source: path, target: point, options: ['loop', 'ro', 'nodev', 'nosuid'] });
}

async function list(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}
