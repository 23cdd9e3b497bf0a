/** Follows the sizes of block devices: they grow while a pod has them, and nobody says so. */
import { readFile, stat } from 'node:fs/promises';

/** No event tells of a size that nothing else depends on; the file is read from the kernel's memory. */
const pollMs = 2_000;
const sectorBytes = 512;

export interface DiskSizesHost {
  /** The device has another size than it had; `knownBytes` is undefined when it is looked at for the first time. */
  changed(path: string, sizeBytes: number, knownBytes: number | undefined): Promise<void>;
  /** Told once, then tried again in silence until it succeeds. */
  failed(path: string, caught: unknown): void;
}

export class DiskSizes {
  readonly #host: DiskSizesHost;
  readonly #sysBlock: string;
  /** Size by path of the device; undefined while it was not looked at. */
  readonly #known = new Map<string, number | undefined>();
  readonly #failing = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();

  constructor(host: DiskSizesHost, sysBlock = '/sys/dev/block') {
    this.#host = host;
    this.#sysBlock = sysBlock;
  }

  /** Follows one more device. */
  follow(path: string): void {
    if (!this.#known.has(path)) this.#known.set(path, undefined);
    this.#timer ??= setInterval(() => {
      this.#looking = this.#looking.then(() => this.look());
    }, pollMs).unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#known.clear();
    await this.#looking;
  }

  /** Looks at all devices once. A device without a size has lost what was behind it, and keeps the size that it had. */
  async look(): Promise<void> {
    for (const [path, known] of this.#known) {
      try {
        const size = await this.#sizeOf(path);
        if (size !== known && size > 0) {
          await this.#host.changed(path, size, known);
          this.#known.set(path, size);
        }
        this.#failing.delete(path);
      } catch (caught) {
        if (!this.#failing.has(path)) this.#host.failed(path, caught);
        this.#failing.add(path);
      }
    }
  }

  async #sizeOf(path: string): Promise<number> {
    const { rdev } = await stat(path);
    return Number(await readFile(`${this.#sysBlock}/${major(rdev)}:${minor(rdev)}/size`, 'latin1')) * sectorBytes;
  }
}

/** As in glibc: bits 8 to 19 and from 32 on. */
function major(device: number): number {
  return ((device >>> 8) & 0xfff) + Math.floor(device / 2 ** 32) * 4096;
}

function minor(device: number): number {
  return (device & 0xff) | ((device >>> 12) & 0xfff00);
}
