import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { HuskError } from '../base/errors.ts';
import { type Digest, isDigest } from '../base/ids.ts';

/** The first bytes of a squashfs image, little endian. */
const squashfsMagic = 'hsqs';
/** Room that a pull leaves on the disk. */
const reserveBytes = 64 * 1024 * 1024;

/** A file that a worker made. */
export interface MadeLayer {
  readonly diffId: Digest;
  readonly path: string;
  /** What the worker said; checked. */
  readonly bytes: number;
  /** Who must own the file. */
  readonly uid: number;
}

/**
 * The folder of layer images: `layers/<diff id>.sqfs`, read-only, root's, complete or absent.
 * What is on the disk is known in memory, so that questions are answered at once.
 */
export class LayerFiles {
  readonly folder: string;
  readonly #work: string;
  readonly #sizes = new Map<Digest, number>();
  #collecting: Promise<void> = Promise.resolve();

  private constructor(root: string) {
    this.folder = join(root, 'layers');
    this.#work = join(root, 'work');
  }

  /** Opens the folder and sweeps what an earlier process left half done. */
  static async open(root: string): Promise<LayerFiles> {
    const files = new LayerFiles(root);
    await mkdir(root, { recursive: true, mode: 0o711 });
    // Layers of private images: only root and the processes it hands files to may read them.
    await mkdir(files.folder, { recursive: true, mode: 0o700 });
    await rm(files.#work, { recursive: true, force: true });
    // Workers must pass through, not look around.
    await mkdir(files.#work, { mode: 0o711 });
    for (const name of await readdir(files.folder)) {
      const diffId = diffIdOf(name);
      const path = join(files.folder, name);
      if (diffId === undefined) await rm(path, { recursive: true, force: true });
      else files.#sizes.set(diffId, (await stat(path)).size);
    }
    return files;
  }

  has(diffId: Digest): boolean {
    return this.#sizes.has(diffId);
  }

  size(diffId: Digest): number {
    return this.#sizes.get(diffId) ?? 0;
  }

  path(diffId: Digest): string {
    return join(this.folder, `${diffId.slice('sha256:'.length)}.sqfs`);
  }

  usage(): { usedBytes: number; files: number } {
    return { usedBytes: [...this.#sizes.values()].reduce((sum, size) => sum + size, 0), files: this.#sizes.size };
  }

  /** A fresh folder for a worker, and the way to be rid of it. */
  async workFolder(name: string, uid: number, gid: number): Promise<string> {
    const path = join(this.#work, name);
    await mkdir(path, { mode: 0o700 });
    await using folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    await folder.chown(uid, gid);
    return path;
  }

  async removeWorkFolder(path: string): Promise<void> {
    await rm(path, { recursive: true, force: true });
  }

  /**
   * Takes a layer over from a worker that is gone.
   * @throws HuskError `internal` when the file is not what the worker said
   */
  async adopt(made: MadeLayer): Promise<void> {
    await this.#collecting;
    if (this.has(made.diffId)) return;
    await using file = await open(made.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    await checkMade(file, made);
    await file.chown(0, 0);
    await file.chmod(0o444);
    await file.sync();
    await rename(made.path, this.path(made.diffId));
    await syncFolder(this.folder);
    this.#sizes.set(made.diffId, made.bytes);
  }

  /** Deletes the layers that nobody needs. */
  async collect(isNeeded: (diffId: Digest) => boolean): Promise<void> {
    const useless = [...this.#sizes.keys()].filter((diffId) => !isNeeded(diffId));
    // Forgotten first: nobody can begin to rely on a layer while it is being deleted.
    for (const diffId of useless) this.#sizes.delete(diffId);
    const earlier = this.#collecting;
    this.#collecting = earlier
      .then(() => Promise.all(useless.map((diffId) => rm(this.path(diffId), { force: true }))))
      .then(() => undefined);
    await this.#collecting;
  }

  /**
   * Refuses a pull that cannot fit: the compressed layers, and images of about twice their size.
   * @throws HuskError `resource-exhausted`
   */
  async checkRoom(compressedBytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(this.folder);
    const wanted = compressedBytes * 2 + reserveBytes;
    if (bavail * bsize >= wanted) return;
    throw new HuskError('resource-exhausted', `pull image: ${bavail * bsize} bytes free, wanted ${wanted}`, {
      stage: 'pull-image',
      hint: 'remove images, or give the image store more room',
    });
  }
}

async function checkMade(file: FileHandle, made: MadeLayer): Promise<void> {
  const info = await file.stat();
  const magic = Buffer.alloc(4);
  await file.read(magic, 0, 4, 0);
  const fits = info.isFile() && info.uid === made.uid && info.nlink === 1 && info.size === made.bytes;
  if (fits && magic.toString('latin1') === squashfsMagic) return;
  throw new HuskError('internal', `take over layer "${made.diffId}": the worker's file is not what it said`, {
    stage: 'adopt-layer',
  });
}

function diffIdOf(name: string): Digest | undefined {
  const diffId = `sha256:${name.slice(0, -'.sqfs'.length)}`;
  return name.endsWith('.sqfs') && isDigest(diffId) ? diffId : undefined;
}

async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r');
  await folder.sync();
}
