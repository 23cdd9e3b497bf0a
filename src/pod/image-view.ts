/** What a runtime needs to know of an image. `src/images` has more; shape kept compatible by the compiler. */
import type { Digest } from '../base/ids.ts';

export interface Image {
  readonly id: Digest;
  readonly config: {
    readonly user: string;
    readonly env: readonly string[];
    readonly workingDir: string;
    readonly entrypoint: readonly string[];
    readonly cmd: readonly string[];
    readonly stopSignal: string;
  };
  /** Lowest first; each a read-only squashfs file of the store. */
  readonly layers: readonly { readonly path: string; readonly sizeBytes: number }[];
}

/** What the pod engine needs of the image store. */
export interface HeldImages {
  /** By id, id prefix, tag, digest or short name; undefined when absent. */
  get(reference: string): Image | undefined;
  /** Keeps the image's layers on disk for a container; again is fine. */
  hold(imageId: Digest, holder: string): void;
  release(holder: string): Promise<void>;
}
