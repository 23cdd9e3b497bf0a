/** An image store in memory, for the tests of this folder. */
import type { HuskError } from '../base/errors.ts';
import type { Digest } from '../base/ids.ts';
import type { Image, ImageStore, RegistryAuth } from '../images/image-store.ts';

/** A store whose registry has every image but what a test takes away. */
export class FakeImages implements ImageStore {
  readonly images = new Map<string, Image>();
  readonly holds = new Map<string, string>();
  pullError: HuskError | undefined;
  lastAuth: RegistryAuth | undefined;

  async pull(reference: string, auth?: RegistryAuth, signal?: AbortSignal): Promise<Image> {
    signal?.throwIfAborted();
    this.lastAuth = auth;
    if (this.pullError !== undefined) throw this.pullError;
    const image = fakeImage(reference.includes(':') ? reference : `${reference}:latest`);
    this.images.set(image.id, image);
    return image;
  }

  get(reference: string): Image | undefined {
    for (const image of this.images.values()) {
      const names = [image.id, ...image.repoTags, ...image.repoTags.map((tag) => tag.replace(/:latest$/, ''))];
      if (names.includes(reference)) return image;
    }
    return undefined;
  }

  list(): Image[] {
    return [...this.images.values()];
  }

  async remove(reference: string): Promise<void> {
    const image = this.get(reference);
    if (image !== undefined) this.images.delete(image.id);
  }

  hold(imageId: Digest, holder: string): void {
    this.holds.set(holder, imageId);
  }

  async release(holder: string): Promise<void> {
    this.holds.delete(holder);
  }

  async usage(): Promise<{ mountpoint: string; usedBytes: number; inodesUsed: number }> {
    return { mountpoint: '/var/lib/husk/images', usedBytes: 4096, inodesUsed: 3 };
  }
}

function fakeImage(tag: string): Image {
  const hex = Buffer.from(tag).toString('hex').padEnd(64, '0').slice(0, 64);
  return {
    id: `sha256:${hex}` as Digest,
    repoTags: [tag],
    repoDigests: [],
    sizeBytes: 1234,
    config: {
      user: '1003:1004',
      env: [],
      workingDir: '',
      entrypoint: [],
      cmd: ['sh'],
      stopSignal: 'SIGQUIT',
      volumes: [],
    },
    layers: [],
    pinned: false,
  };
}
