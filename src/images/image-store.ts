/** OCI images on the node: pulled, verified, converted to read-only block images, listed. */
import type { Digest } from '../base/ids.ts';

export interface RegistryAuth {
  readonly username?: string;
  readonly password?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
  /** The registry these credentials are for; empty: the image's own. */
  readonly serverAddress?: string;
}

/** The parts of an image config that a container starts from. Untrusted input, already bounded. */
export interface ImageRunConfig {
  readonly user: string;
  readonly env: readonly string[];
  readonly workingDir: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly stopSignal: string;
  readonly volumes: readonly string[];
}

export interface ImageLayer {
  /** Digest of the uncompressed layer (diff id). */
  readonly diffId: Digest;
  /** The read-only squashfs image made of it. */
  readonly path: string;
  readonly sizeBytes: number;
}

export interface Image {
  /** The config digest: the one identifier of an image everywhere. */
  readonly id: Digest;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  /** Compressed bytes of all layers and the config. Above zero. */
  readonly sizeBytes: number;
  readonly config: ImageRunConfig;
  /** Lowest first. */
  readonly layers: readonly ImageLayer[];
  readonly pinned: boolean;
}

export interface ImageFsUsage {
  readonly mountpoint: string;
  readonly usedBytes: number;
  readonly inodesUsed: number;
}

export interface ImageStore {
  /**
   * Pulls by tag, digest or short name and returns the image. Two pulls of one layer at a
   * time download it once. Cancelling the last pull that wants a layer ends its download.
   * @throws HuskError `invalid-argument` for the reference, `not-found`, `permission-denied`,
   *   `unavailable` when the registry does not answer, `data-loss` for a wrong digest
   */
  pull(reference: string, auth: RegistryAuth | undefined, signal?: AbortSignal): Promise<Image>;
  /** By id, id prefix, tag, digest or short name; undefined when absent. */
  get(reference: string): Image | undefined;
  list(): Image[];
  /** Removes all tags of the image. Absent is fine. Layers in use stay on disk until the last user is gone. */
  remove(reference: string): Promise<void>;
  /** Keeps the image's layers on disk for a container, whatever is removed meanwhile. */
  hold(imageId: Digest, holder: string): void;
  release(holder: string): Promise<void>;
  usage(): Promise<ImageFsUsage>;
}
