/** What an image may ask of the node. Every number is a cap on hostile input. */
export interface ImageLimits {
  /** Bytes of one manifest or index. */
  readonly manifestBytes: number;
  /** Bytes of one image config. */
  readonly configBytes: number;
  /** Indexes inside indexes; CVE-2026-53493 (containerd) is the graph that never ends. */
  readonly indexDepth: number;
  /** Descriptors in one manifest or index, and manifests fetched for one pull. */
  readonly descriptors: number;
  readonly layers: number;
  /** Compressed bytes of one layer, as its descriptor says. */
  readonly layerBytes: number;
  /** Bytes of one layer after decompression. */
  readonly unpackedLayerBytes: number;
  /** Decompressed bytes per compressed byte, looked at after {@link ratioFloorBytes}. */
  readonly ratio: number;
  readonly ratioFloorBytes: number;
  /** Entries of one layer, whiteouts included. */
  readonly entries: number;
  /** Bytes of all names and link targets that the conversion must keep in memory for one layer. */
  readonly nameBytes: number;
  /** Bytes of one path; Linux's PATH_MAX. */
  readonly pathBytes: number;
  readonly pathDepth: number;
  /** Bytes of one PAX header block. */
  readonly paxBytes: number;
  /** The longest download of one layer, and the longest silence. */
  readonly downloadMs: number;
  readonly idleMs: number;
  /** The longest conversion of one layer (CVE-2021-20291: a decompressor that never ends). */
  readonly convertMs: number;
  /** The longest life of a worker. */
  readonly jobMs: number;
  /** Attempts at one blob; each goes on where the last stopped. */
  readonly attempts: number;
  /** Layers that one worker works on at a time. */
  readonly parallelLayers: number;
}

const MiB = 1024 * 1024;
const GiB = 1024 * MiB;

/** The limits of a node that nobody configured. */
export const defaultLimits: ImageLimits = {
  manifestBytes: 4 * MiB,
  configBytes: 4 * MiB,
  indexDepth: 4,
  descriptors: 1000,
  // overlayfs takes 500 lower layers at most; images in the wild stay below Docker's 127.
  layers: 256,
  layerBytes: 32 * GiB,
  unpackedLayerBytes: 64 * GiB,
  ratio: 500,
  ratioFloorBytes: 512 * MiB,
  entries: 1_000_000,
  nameBytes: 128 * MiB,
  pathBytes: 4096,
  pathDepth: 256,
  paxBytes: MiB,
  downloadMs: 3_600_000,
  idleMs: 30_000,
  convertMs: 1_800_000,
  jobMs: 7_200_000,
  attempts: 5,
  parallelLayers: 3,
};
