/**
 * Ranges of the layers disk that a template maps ahead, one for each of a pod's first layers: adding a partition is the
 * dearest part of mounting a layer in a clone (docs/adr/0012). Both ends agree on them by this file alone. Pure.
 */

/** More than most pods have layers; what comes after them is mapped when it is wanted. */
export const slotCount = 32;
/** A larger layer takes no slot. */
export const slotBytes: number = 8 * 1024 ** 3;
/** Where layers without a slot begin. */
export const slotsEndBytes: number = slotCount * slotBytes;

/** The slot that begins at this place, or undefined. */
export function slotAt(offsetBytes: number): number | undefined {
  const slot = offsetBytes / slotBytes;
  return Number.isInteger(slot) && slot >= 0 && slot < slotCount ? slot : undefined;
}
