import { join } from 'node:path';
import { HuskError } from '../base/errors.ts';
import type { Failpoints } from '../base/failpoints.ts';
import type { Digest } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import type { LayerFiles } from './layer-files.ts';
import { errorFromWire, type Job, layerFileName, type ResolvedImage, type WorkerEvent } from './worker/protocol.ts';
import { type WorkerIdentity, WorkerProcess } from './worker-process.ts';

interface Landing {
  readonly number: number;
  readonly resolve: () => void;
  readonly reject: (error: HuskError) => void;
}

export interface PullJobParts {
  readonly files: LayerFiles;
  readonly worker: WorkerIdentity;
  readonly log: Log;
  readonly failpoints: Failpoints;
}

/**
 * One worker and what it was asked for. It lives as long as somebody wants a layer of it, which
 * may be longer than the pull that started it.
 */
export class PullJob {
  readonly #job: Job;
  readonly #files: LayerFiles;
  readonly #identity: WorkerIdentity;
  readonly #log: Log;
  readonly #failpoints: Failpoints;
  readonly #worker: WorkerProcess;
  readonly #landings = new Map<Digest, Landing>();
  readonly #made = new Map<number, number>();
  /** What the registry says the reference is. */
  readonly resolved: Promise<ResolvedImage>;
  /** Settles when the worker is gone, its layers are taken over and its folder is removed. Never rejects. */
  readonly over: Promise<void>;

  constructor(job: Job, { files, worker, log, failpoints }: PullJobParts) {
    this.#job = job;
    this.#files = files;
    this.#identity = worker;
    this.#log = log;
    this.#failpoints = failpoints;
    const { promise, resolve, reject } = Promise.withResolvers<ResolvedImage>();
    promise.catch(() => undefined);
    this.resolved = promise;
    this.#worker = new WorkerProcess(job, worker, (event) => this.#onEvent(event, resolve), log);
    this.over = this.#worker.gone.then(async () => {
      reject(this.#worker.failure ?? new HuskError('internal', 'pull image: the worker ended early'));
      await this.#land();
      await files.removeWorkFolder(job.folder).catch((cause: unknown) => {
        log.warn({ cause, folder: job.folder }, 'a work folder could not be removed; the next start sweeps it');
      });
    });
  }

  /** Asks for layers, once. */
  make(layers: ReadonlyMap<Digest, number>): Map<Digest, Promise<void>> {
    const promises = new Map<Digest, Promise<void>>();
    for (const [diffId, number] of layers) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      promise.catch(() => undefined);
      this.#landings.set(diffId, { number, resolve, reject });
      promises.set(diffId, promise);
    }
    this.#worker.send({ type: 'layers', wanted: [...layers.values()] });
    return promises;
  }

  /** Nobody wants the layer any more; the worker goes with the last one. */
  drop(diffId: Digest): void {
    const landing = this.#landings.get(diffId);
    if (landing === undefined || !this.#landings.delete(diffId)) return;
    landing.reject(new HuskError('cancelled', `pull layer "${diffId}": nobody wants it any more`));
    if (this.#landings.size === 0) this.#worker.kill();
    else this.#worker.send({ type: 'drop', layer: landing.number });
  }

  kill(): void {
    this.#worker.kill();
  }

  #onEvent(event: WorkerEvent, resolve: (image: ResolvedImage) => void): void {
    if (event.type === 'resolved') resolve(event.image);
    else if (event.type === 'layer') {
      this.#made.set(event.layer, event.bytes);
      if (event.droppedDevices > 0) {
        this.#log.info({ layer: event.layer, count: event.droppedDevices }, 'device nodes of a layer were left out');
      }
    } else if (event.type === 'layer-failed') this.#fail(event.layer, errorFromWire(event.error));
    else if (event.type === 'progress') this.#log.debug({ layer: event.layer, bytes: event.bytes }, 'pulling a layer');
  }

  /** A failure is told at once: the pull need not wait for the layers that still download. */
  #fail(number: number, error: HuskError): void {
    for (const [diffId, landing] of this.#landings) {
      if (landing.number !== number) continue;
      this.#landings.delete(diffId);
      landing.reject(error);
    }
  }

  /** Takes the layers over. Only now, after a good end: no process that could still write to them is left. */
  async #land(): Promise<void> {
    for (const [diffId, { number, resolve, reject }] of this.#landings) {
      const bytes = this.#worker.failure === undefined ? this.#made.get(number) : undefined;
      if (bytes === undefined) {
        const fallback = new HuskError('internal', `pull layer "${diffId}": the worker ended without it`);
        reject(this.#worker.failure ?? fallback);
        continue;
      }
      const path = join(this.#job.folder, layerFileName(number));
      try {
        await this.#files.adopt({ diffId, path, bytes, uid: this.#identity.uid });
        await this.#failpoints.hit('pull.layer');
        resolve();
      } catch (caught) {
        reject(HuskError.from(caught, 'adopt-layer'));
      }
    }
    this.#landings.clear();
  }
}
