/** Where layers lie on the layers disk, and the VMDK descriptor that joins their files. Pure. */
import { HuskError } from '../../base/errors.ts';
import { slotBytes, slotCount, slotsEndBytes } from '../../guest/layer-slots.ts';
import type { LayerFile, LayerRange } from '../hypervisor.ts';
import { diskCapacityBytes } from './argv.ts';

/** Layers start on whole MiB: partitions in the guest are aligned, and the padding costs nothing. */
export const layerAlignBytes = 1024 * 1024;
const sectorBytes = 512;
/** Two descriptors each; the jail allows 1024. */
export const maxLayers = 256;

/** A layer on the disk: JSON-safe, kept for the next daemon. */
export interface PlacedLayer extends LayerRange {
  readonly path: string;
  /** QEMU knows the file as /dev/fdset/N. */
  readonly set: number;
}

/**
 * Places for layers that are not on the disk yet: a slot that the guest has mapped already, else after all others.
 * @throws HuskError `invalid-argument` for a bad size, `resource-exhausted` when the disk is full
 */
export function placeLayers(
  present: readonly PlacedLayer[],
  wanted: readonly LayerFile[],
): { readonly file: LayerFile; readonly range: LayerRange }[] {
  let end = Math.max(slotsEndBytes, ...present.map(endOf));
  const inSlots = present.filter(({ offsetBytes }) => offsetBytes < slotsEndBytes);
  let slot = Math.ceil(Math.max(0, ...inSlots.map(endOf)) / slotBytes);
  const known = new Set(present.map((layer) => layer.path));
  const placed: { file: LayerFile; range: LayerRange }[] = [];
  for (const file of wanted) {
    if (known.has(file.path)) continue;
    known.add(file.path);
    if (!Number.isSafeInteger(file.sizeBytes) || file.sizeBytes <= 0 || file.sizeBytes % sectorBytes !== 0) {
      throw new HuskError(
        'invalid-argument',
        `attach layer "${file.path}": ${file.sizeBytes} bytes, want whole sectors`,
      );
    }
    const fits = slot < slotCount && file.sizeBytes <= slotBytes;
    const offsetBytes = fits ? slot * slotBytes : Math.ceil(end / layerAlignBytes) * layerAlignBytes;
    if (fits) slot += 1;
    else end = offsetBytes + file.sizeBytes;
    placed.push({ file, range: { offsetBytes, sizeBytes: file.sizeBytes } });
  }
  if (known.size > maxLayers || end > diskCapacityBytes - layerAlignBytes) {
    throw new HuskError(
      'resource-exhausted',
      `attach layers: ${known.size} layers of ${end} bytes, at most ${maxLayers}`,
    );
  }
  return placed;
}

function endOf({ offsetBytes, sizeBytes }: LayerRange): number {
  return offsetBytes + sizeBytes;
}

/**
 * A VMDK descriptor of flat extents (the only concatenation that QEMU's block layer has), holes
 * and the rest of the terabyte filled from a sparse file of zeros.
 *
 * @param layers in any order
 */
export function vmdkDescriptor(layers: readonly PlacedLayer[], zeroSet: number): string {
  const extents: string[] = [];
  let at = 0;
  const extent = (until: number, set: number): void => {
    if (until > at) extents.push(`RW ${(until - at) / sectorBytes} FLAT "/dev/fdset/${set}" 0`);
    at = Math.max(at, until);
  };
  for (const layer of layers.toSorted((a, b) => a.offsetBytes - b.offsetBytes)) {
    extent(layer.offsetBytes, zeroSet);
    extent(layer.offsetBytes + layer.sizeBytes, layer.set);
  }
  extent(diskCapacityBytes, zeroSet);
  const head = [
    '# Disk DescriptorFile',
    'version=1',
    'CID=fffffffe',
    'parentCID=ffffffff',
    'createType="twoGbMaxExtentFlat"',
  ];
  return `${[...head, ...extents].join('\n')}\n`;
}
