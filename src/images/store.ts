import { randomBytes } from 'node:crypto';
import { HuskError, isKind } from '../base/errors.ts';
import { type Failpoints, noFailpoints } from '../base/failpoints.ts';
import type { Digest } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import type { RecordStore } from '../base/records.ts';
import { areFor } from './credentials.ts';
import { Flights } from './flights.ts';
import { loadHosts } from './host-files.ts';
import type { Image, ImageFsUsage, ImageStore, RegistryAuth } from './image-store.ts';
import { LayerFiles } from './layer-files.ts';
import { defaultLimits, type ImageLimits } from './limits.ts';
import { findImage, named, withoutTag } from './names.ts';
import { PullJob } from './pull-job.ts';
import type { HoldRecord, ImageRecord } from './records.ts';
import { parseReference, type Reference, repoTag } from './reference.ts';
import type { Job, ResolvedImage, SquashfsFormat } from './worker/protocol.ts';
import type { WorkerIdentity } from './worker-process.ts';

/** What an image store is made of. */
export interface ImageStoreOptions {
  /** The store's folder, e.g. `/var/lib/husk/images`. Made when absent. */
  readonly folder: string;
  /** Durable records; parse with `parseImageRecord`. */
  readonly images: RecordStore<ImageRecord>;
  /** Durable records; parse with `parseHoldRecord`. */
  readonly holds: RecordStore<HoldRecord>;
  readonly worker: WorkerIdentity;
  readonly log: Log;
  /** The operator's `certs.d`; absent: every registry is asked itself. */
  readonly registryConfigFolder?: string | undefined;
  /** Token servers (host names) that may see credentials of registries in other domains. */
  readonly trustedRealms?: readonly string[];
  readonly limits?: Partial<ImageLimits>;
  readonly squashfs?: SquashfsFormat;
  /** For tests: `pull.start`, `pull.resolve`, `pull.layer`, `pull.fetch`, `pull.record`. */
  readonly failpoints?: Failpoints;
}

/** An image store that can be shut down. */
export interface ClosableImageStore extends ImageStore {
  /** Ends all pulls and waits until their workers are gone. */
  close(): Promise<void>;
}

/** Chosen by measurement: docs/adr/0040-layer-images.md. */
const defaultSquashfs: SquashfsFormat = { compressor: 'lz4', blockBytes: 131_072 };
/** How often a pull tries again because another pull, whose layer it waited for, failed. */
const maxRounds = 3;

/**
 * Opens an image store, sweeps what an earlier process left and forgets images whose layers are gone.
 * @throws HuskError when the folder cannot be used
 */
export async function createImageStore(options: ImageStoreOptions): Promise<ClosableImageStore> {
  const files = await LayerFiles.open(options.folder);
  const store = new Store(options, files);
  await store.sweep();
  return store;
}

class Store implements ClosableImageStore {
  readonly #options: ImageStoreOptions;
  readonly #files: LayerFiles;
  readonly #limits: ImageLimits;
  readonly #failpoints: Failpoints;
  readonly #flights = new Flights();
  readonly #jobs = new Set<PullJob>();
  /** Layers that pulls in progress rely on, and how many do. */
  readonly #pins = new Map<Digest, number>();
  #closed = false;

  constructor(options: ImageStoreOptions, files: LayerFiles) {
    this.#options = options;
    this.#files = files;
    this.#failpoints = options.failpoints ?? noFailpoints;
    this.#limits = { ...defaultLimits, ...options.limits };
  }

  async sweep(): Promise<void> {
    for (const image of this.#options.images.list()) {
      if (image.layers.every((layer) => this.#files.has(layer))) continue;
      this.#options.log.warn({ image: image.id }, 'layers of an image are missing on disk: the image is forgotten');
      this.#options.images.delete(image.id);
    }
    await this.#collect();
  }

  async pull(text: string, auth: RegistryAuth | undefined, signal?: AbortSignal): Promise<Image> {
    const reference = parseReference(text);
    const caller = signal ?? new AbortController().signal;
    for (let round = 1; ; round += 1) {
      if (caller.aborted) throw cancelled(text, caller);
      try {
        return await this.#pullOnce(reference, auth, caller);
      } catch (caught) {
        if (caller.aborted) throw cancelled(text, caller);
        // "cancelled" without our caller's doing: another pull had our layer and let it go.
        if (!isKind(caught, 'cancelled') || this.#closed || round >= maxRounds)
          throw HuskError.from(caught, 'pull-image');
      }
    }
  }

  get(reference: string): Image | undefined {
    const record = findImage(this.#options.images.list(), reference);
    return record === undefined ? undefined : this.#toImage(record);
  }

  list(): Image[] {
    return this.#options.images.list().map((record) => this.#toImage(record));
  }

  async remove(reference: string): Promise<void> {
    const record = findImage(this.#options.images.list(), reference);
    if (record !== undefined) this.#options.images.delete(record.id);
    await this.#collect();
  }

  hold(imageId: Digest, holder: string): void {
    const image = this.#options.images.get(imageId);
    if (image === undefined) throw new HuskError('not-found', `hold image "${imageId}": it is not on this node`);
    this.#options.holds.put(holder, { version: 1, holder, imageId, layers: image.layers });
  }

  async release(holder: string): Promise<void> {
    this.#options.holds.delete(holder);
    await this.#collect();
  }

  usage(): Promise<ImageFsUsage> {
    const { usedBytes, files } = this.#files.usage();
    return Promise.resolve({ mountpoint: this.#options.folder, usedBytes, inodesUsed: files + 3 });
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const job of this.#jobs) job.kill();
    await Promise.all([...this.#jobs].map((job) => job.over));
  }

  async #pullOnce(reference: Reference, auth: RegistryAuth | undefined, signal: AbortSignal): Promise<Image> {
    const job = await this.#startJob(reference, auth);
    const onAbort = (): void => job.kill();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) job.kill();
    let image: ResolvedImage;
    try {
      await this.#failpoints.hit('pull.start');
      image = await job.resolved;
      await this.#failpoints.hit('pull.resolve');
    } catch (caught) {
      job.kill();
      await job.over;
      throw caught;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
    const release = this.#pin(image);
    try {
      await this.#fetchLayers(job, image, signal);
      await this.#failpoints.hit('pull.fetch');
      const pulled = this.#commit(reference, image);
      await this.#failpoints.hit('pull.record');
      return pulled;
    } finally {
      release();
      await this.#collect();
    }
  }

  async #startJob(reference: Reference, auth: RegistryAuth | undefined): Promise<PullJob> {
    const { worker, log, registryConfigFolder, trustedRealms, squashfs } = this.#options;
    if (this.#closed) throw new HuskError('unavailable', 'pull image: the image store is shutting down');
    const hosts = await loadHosts(registryConfigFolder, reference.host);
    const folder = await this.#files.workFolder(randomBytes(8).toString('hex'), worker.uid, worker.gid);
    const job: Job = {
      reference,
      hosts: hosts.map((host) => ({
        ...host,
        credentials: auth !== undefined && areFor(auth, host, reference.host) ? secretsOf(auth) : undefined,
      })),
      trustedRealms: trustedRealms ?? [],
      limits: this.#limits,
      folder,
      squashfs: squashfs ?? defaultSquashfs,
    };
    const running = new PullJob(job, { files: this.#files, worker, log, failpoints: this.#failpoints });
    this.#jobs.add(running);
    void running.over.then(() => this.#jobs.delete(running));
    return running;
  }

  async #fetchLayers(job: PullJob, image: ResolvedImage, signal: AbortSignal): Promise<void> {
    const missing = image.layers.filter(({ diffId }) => !this.#files.has(diffId));
    try {
      await this.#files.checkRoom(missing.reduce((sum, layer) => sum + layer.size, 0));
    } catch (caught) {
      job.kill();
      await job.over;
      throw caught;
    }
    // No wait from here to `start`: what is missing and not on its way is ours.
    const own = new Map<Digest, number>();
    for (const [number, { diffId }] of image.layers.entries()) {
      if (!this.#files.has(diffId) && !this.#flights.has(diffId)) own.set(diffId, number);
    }
    if (own.size === 0) job.kill();
    else for (const [diffId, made] of job.make(own)) this.#flights.start(diffId, made, () => job.drop(diffId));
    try {
      await this.#flights.join([...new Set(image.layers.map(({ diffId }) => diffId))], signal);
    } catch (caught) {
      // A pull that is told to stop has stopped when it says so, unless others still wait for its layers.
      if (![...own.keys()].some((diffId) => this.#flights.has(diffId))) await job.over;
      throw caught;
    }
  }

  /** Records the image. A tag moves here from whichever image had it. */
  #commit(reference: Reference, resolved: ResolvedImage): Image {
    const { images } = this.#options;
    const tag = repoTag(reference);
    if (tag !== undefined) {
      for (const other of images.list()) {
        if (other.id !== resolved.id && other.repoTags.includes(tag)) images.put(other.id, withoutTag(other, tag));
      }
    }
    const record = named(
      images.get(resolved.id),
      reference,
      {
        version: 1,
        id: resolved.id,
        repoTags: [],
        repoDigests: [],
        sizeBytes: resolved.sizeBytes,
        config: resolved.config,
        layers: resolved.layers.map(({ diffId }) => diffId),
      },
      resolved.digest,
    );
    images.put(record.id, record);
    return this.#toImage(record);
  }

  #pin(image: ResolvedImage): () => void {
    const diffIds = new Set(image.layers.map(({ diffId }) => diffId));
    for (const diffId of diffIds) this.#pins.set(diffId, (this.#pins.get(diffId) ?? 0) + 1);
    return () => {
      for (const diffId of diffIds) {
        const left = (this.#pins.get(diffId) ?? 1) - 1;
        if (left === 0) this.#pins.delete(diffId);
        else this.#pins.set(diffId, left);
      }
    };
  }

  async #collect(): Promise<void> {
    const { images, holds } = this.#options;
    const needed = new Set<Digest>();
    for (const each of [...images.list(), ...holds.list()]) for (const layer of each.layers) needed.add(layer);
    await this.#files.collect((diffId) => needed.has(diffId) || this.#pins.has(diffId) || this.#flights.has(diffId));
  }

  #toImage(record: ImageRecord): Image {
    const layers = record.layers.map((diffId) => ({
      diffId,
      path: this.#files.path(diffId),
      sizeBytes: this.#files.size(diffId),
    }));
    const { id, repoTags, repoDigests, config } = record;
    return { id, repoTags, repoDigests, sizeBytes: Math.max(1, record.sizeBytes), config, layers, pinned: false };
  }
}

function secretsOf(auth: RegistryAuth): Job['hosts'][number]['credentials'] {
  const { serverAddress: _, ...secrets } = auth;
  return secrets;
}

function cancelled(text: string, signal: AbortSignal): HuskError {
  if (signal.reason instanceof HuskError) return signal.reason;
  return new HuskError('cancelled', `pull image "${text}": cancelled by the caller`, { cause: signal.reason });
}
