/**
 * The image worker: a process without rights that talks to one registry for one pull.
 *
 * It reads a job and commands from standard input and writes events to standard output, both as
 * lines of JSON, and dies with its input. `src/images/worker-process.ts` starts it.
 */

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { withDeadline } from '../../base/deadline.ts';
import { HuskError } from '../../base/errors.ts';
import { convertLayer } from './convert.ts';
import { downloadBlob, ioError } from './download.ts';
import { type Command, type Job, layerFileName, type ResolvedImage, type WorkerEvent, wireError } from './protocol.ts';
import { RegistryClient } from './registry.ts';
import { resolveImage } from './resolve.ts';

/** Progress is told in steps of this many bytes. */
const progressStep = 4 * 1024 * 1024;

function tell(event: WorkerEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

/** One pull. */
class Pull {
  readonly #job: Job;
  readonly #registry: RegistryClient;
  readonly #layers = new Map<number, AbortController>();

  constructor(job: Job) {
    this.#job = job;
    this.#registry = new RegistryClient(job);
  }

  async resolve(): Promise<ResolvedImage> {
    const { limits, reference } = this.#job;
    return await withDeadline('resolve image', limits.downloadMs, undefined, (signal) =>
      resolveImage(this.#registry, reference, limits, signal),
    );
  }

  /** Makes the layers, a few at a time; a failing one does not stop the others. */
  async make(image: ResolvedImage, wanted: readonly number[]): Promise<void> {
    for (const number of wanted) this.#layers.set(number, new AbortController());
    const queue = [...wanted];
    const lane = async (): Promise<void> => {
      for (let number = queue.shift(); number !== undefined; number = queue.shift()) await this.#layer(image, number);
    };
    await Promise.all(Array.from({ length: this.#job.limits.parallelLayers }, lane));
  }

  drop(layer: number): void {
    this.#layers.get(layer)?.abort(new HuskError('cancelled', `pull layer ${layer}: nobody wants it any more`));
  }

  close(): void {
    this.#registry.close();
  }

  async #layer(image: ResolvedImage, number: number): Promise<void> {
    const layer = image.layers[number];
    const signal = this.#layers.get(number)?.signal;
    const { folder, limits, squashfs } = this.#job;
    const blob = join(folder, `layer-${number}.blob`);
    try {
      if (layer === undefined || signal === undefined)
        throw new HuskError('internal', `make layer ${number}: no such layer`);
      let told = 0;
      const onProgress = (bytes: number): void => {
        if (bytes < told + progressStep) return;
        told = bytes;
        tell({ type: 'progress', layer: number, bytes });
      };
      await withDeadline('pull layer', limits.downloadMs, signal, (inner) =>
        downloadBlob(this.#registry, { path: blob, layer, onProgress }, limits, inner),
      );
      const output = join(folder, layerFileName(number));
      const made = await withDeadline('convert layer', limits.convertMs, signal, (inner) =>
        convertLayer({ blob, output, layer, limits, squashfs }, inner),
      );
      tell({ type: 'layer', layer: number, ...made });
    } catch (caught) {
      tell({ type: 'layer-failed', layer: number, error: wireError(ioError(caught)) });
    } finally {
      await rm(blob, { force: true });
    }
  }
}

async function main(): Promise<void> {
  const lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY });
  let pull: Pull | undefined;
  let image: ResolvedImage | undefined;
  // huskd is gone, or wants nothing more: whatever is still running is for nobody.
  lines.on('close', () => process.exit(0));
  for await (const line of lines) {
    if (pull === undefined) {
      pull = new Pull(JSON.parse(line) as Job);
      image = await pull.resolve();
      tell({ type: 'resolved', image });
      continue;
    }
    const command = JSON.parse(line) as Command;
    if (command.type === 'drop') pull.drop(command.layer);
    else if (image !== undefined) void finish(pull, image, command.wanted);
  }
}

async function finish(pull: Pull, image: ResolvedImage, wanted: readonly number[]): Promise<void> {
  await pull.make(image, wanted);
  pull.close();
  end(0);
}

/** Ends when the last event is through the pipe. */
function end(code: number): void {
  process.stdout.write('', () => process.exit(code));
}

main().catch((caught: unknown) => {
  tell({ type: 'error', error: wireError(caught) });
  end(1);
});
