/** The layers of images: ranges of the layers disk that are mapped and mounted once each. */
import { HuskError } from '../../src/base/errors.ts';
import type { Layer } from '../../src/gen/agent/v1/agent.ts';
import { slotAt, slotBytes, slotCount } from '../../src/guest/layer-slots.ts';
import { op, type SysOp, tryOp } from '../../src/guest/sys-batch.ts';

/** Partition numbers of a block device end here (DISK_MAX_PARTS of the kernel). */
const maxPartitions = 255;
const sectorBytes = 512n;

interface Mapped {
  readonly number: number;
  users: number;
}

/** What must run to take or give back layers, and the mount folders' names, lowest layer first. */
export interface LayerPlan {
  readonly ops: readonly SysOp[];
  readonly folders: readonly string[];
}

/** Counts who uses which range. It makes no system call: it says which are to be made. */
export class LayerTable {
  readonly #disk: string;
  readonly #folder: string;
  readonly #mapped = new Map<string, Mapped>();
  /** Partitions that are there whether a layer is in them or not. */
  #ahead = 0;

  /** @param folder where layers are mounted, each under its number: short names, for overlayfs takes one page of options */
  constructor(disk: string, folder: string) {
    this.#disk = disk;
    this.#folder = folder;
  }

  /** What makes all slots partitions: asked for once, in the template. */
  mapSlots(): SysOp[] {
    this.#ahead = slotCount;
    return Array.from({ length: slotCount }, (_, slot) => this.#part(slot + 1, slot * slotBytes, slotBytes));
  }

  /**
   * Counts the layers as used.
   * @throws HuskError `invalid-argument` for a range that is none, `resource-exhausted` beyond 255 partitions
   */
  take(layers: readonly Layer[]): LayerPlan {
    for (const layer of layers) checkRange(layer);
    const ops: SysOp[] = [];
    const taken: Layer[] = [];
    try {
      const folders = layers.map((layer) => {
        const mapped = this.#use(layer, ops);
        taken.push(layer);
        return String(mapped.number);
      });
      return { ops, folders };
    } catch (caught) {
      this.giveBack(taken);
      throw caught;
    }
  }

  /** Counts the layers as no longer used by one container. The steps may fail one by one. */
  giveBack(layers: readonly Layer[]): LayerPlan {
    const ops: SysOp[] = [];
    for (const layer of layers) {
      const mapped = this.#mapped.get(keyOf(layer));
      if (mapped === undefined) continue;
      mapped.users -= 1;
      if (mapped.users > 0) continue;
      this.#mapped.delete(keyOf(layer));
      ops.push(tryOp('umount', `${this.#folder}/${mapped.number}`));
      if (mapped.number > this.#ahead) ops.push(tryOp('unpart', this.#disk, String(mapped.number)));
    }
    return { ops, folders: [] };
  }

  #use(layer: Layer, ops: SysOp[]): Mapped {
    const known = this.#mapped.get(keyOf(layer));
    if (known !== undefined) {
      known.users += 1;
      return known;
    }
    const slot = slotAt(Number(layer.offsetBytes));
    const mapped = { number: slot === undefined ? this.#freeNumber() : slot + 1, users: 1 };
    this.#mapped.set(keyOf(layer), mapped);
    const target = `${this.#folder}/${mapped.number}`;
    const size = ((layer.sizeBytes + sectorBytes - 1n) / sectorBytes) * sectorBytes;
    if (mapped.number > this.#ahead) ops.push(this.#part(mapped.number, layer.offsetBytes, size));
    ops.push(
      op('mkdir', target, String(0o700)),
      op('mount', partitionPath(this.#disk, mapped.number), target, 'squashfs', 'ro,nosuid,nodev', ''),
    );
    return mapped;
  }

  #part(number: number, offsetBytes: number | bigint, sizeBytes: number | bigint): SysOp {
    return op('part', this.#disk, String(number), String(offsetBytes), String(sizeBytes));
  }

  /** After those of the slots. */
  #freeNumber(): number {
    const used = new Set([...this.#mapped.values()].map(({ number }) => number));
    for (let number = slotCount + 1; number <= maxPartitions; number += 1) if (!used.has(number)) return number;
    throw new HuskError(
      'resource-exhausted',
      `map a layer: all ${maxPartitions} partitions of the layers disk are in use`,
    );
  }
}

/** The block device of a partition: `/dev/vdb1`, but `/dev/loop3p1` where the disk's name ends in a digit. */
export function partitionPath(disk: string, number: number): string {
  return /[0-9]$/.test(disk) ? `${disk}p${number}` : `${disk}${number}`;
}

function keyOf({ offsetBytes, sizeBytes }: Layer): string {
  return `${offsetBytes}+${sizeBytes}`;
}

function checkRange({ offsetBytes, sizeBytes }: Layer): void {
  if (sizeBytes > 0n && offsetBytes % sectorBytes === 0n) return;
  throw new HuskError(
    'invalid-argument',
    `layer "${offsetBytes}+${sizeBytes}": wanted whole sectors of ${sectorBytes} bytes, and some`,
  );
}
