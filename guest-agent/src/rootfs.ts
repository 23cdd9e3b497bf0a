/** A container's root file system: its layers below, a writable folder on the data disk above. */
import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { sleep } from '../../src/base/deadline.ts';
import { HuskError } from '../../src/base/errors.ts';
import type { Layer } from '../../src/gen/agent/v1/agent.ts';
import { op, type SysOp, type SysResult, tryOp } from '../../src/guest/sys-batch.ts';
import type { UserFiles } from '../../src/oci/resolve-user.ts';
import type { LayerPlan } from './layers.ts';
import { containerPlaces, podPlaces } from './places.ts';
import type { Pod } from './pod.ts';

/** The image's passwd and group files are hostile: beyond this they are taken as absent (CVE-2026-47262). */
const maxUserFileBytes = 1024 * 1024;
/** A mount is busy for a moment while another container's mount namespace is being made. */
const busyTries = 40;
const busyWaitMs = 50;
/** mount(2) takes one page of options. */
const maxOptionBytes = 4095;

/** Mounts the layers and the overlay, and reads the image's user files, in one batch. `unmountRoot` takes it back. */
export async function mountRoot(pod: Pod, id: string, layers: readonly Layer[]): Promise<UserFiles> {
  const places = containerPlaces(pod.settings, id);
  for (const folder of [places.upper, places.work, places.rootfs]) mkdirSync(folder, { recursive: true, mode: 0o755 });
  const owner = pod.ids?.root;
  return pod.locks.run('layers', async () => {
    const plan = pod.layers.take(layers);
    const shifted = await mountShifted(pod, layers, plan);
    const ops: SysOp[] = [
      ...(shifted === undefined ? plan.ops : []),
      ...(owner === undefined ? [] : [op('chown', places.upper, String(owner.uid), String(owner.gid))]),
      op('chdir', podPlaces(pod.settings).layersFolder),
      overlay(plan.folders, places, shifted),
      op('chdir', '/'),
      ...['etc/passwd', 'etc/group'].map((path) => tryOp('read', places.rootfs, path, String(maxUserFileBytes))),
    ];
    try {
      const results = await pod.sys.run(ops);
      return { passwd: textOf(results.at(-2)), group: textOf(results.at(-1)) };
    } catch (caught) {
      await unmountingOf(pod, id, layers)();
      throw caught;
    }
  });
}

/** Mounts the layers ahead, and what gives their files to the pod's user namespace; undefined where it has none. */
async function mountShifted(pod: Pod, layers: readonly Layer[], plan: LayerPlan): Promise<string | undefined> {
  if (pod.ids === undefined || layers.length === 0) return undefined;
  try {
    await pod.sys.run(plan.ops);
    return await pod.shifted.over(layers, plan.folders);
  } catch (caught) {
    await pod.sys.run(pod.layers.giveBack(layers).ops);
    throw caught;
  }
}

/**
 * Unmounts the overlay and the layers that nobody else uses, and removes what was written.
 * What is absent is fine.
 * @throws HuskError `internal` when something stays busy
 */
export async function unmountRoot(pod: Pod, id: string, layers: readonly Layer[]): Promise<void> {
  await rootRemoval(pod, id, layers)();
}

/** The same, to be called again after an error: it goes on with what is left. */
export function rootRemoval(pod: Pod, id: string, layers: readonly Layer[]): () => Promise<void> {
  const unmounting = unmountingOf(pod, id, layers);
  return async () => {
    await pod.locks.run('layers', unmounting);
    await rm(containerPlaces(pod.settings, id).written, { recursive: true, force: true });
  };
}

function unmountingOf(pod: Pod, id: string, layers: readonly Layer[]): () => Promise<void> {
  let left: readonly SysOp[] | undefined;
  return async () => {
    // Counted as given back only now, in turn with those who take layers.
    left ??= [tryOp('umount', containerPlaces(pod.settings, id).rootfs), ...pod.layers.giveBack(layers).ops];
    left = await unmount(pod, left);
    if (left.length === 0) return;
    const what = left.map(({ name, args }) => `${name} ${args.join(' ')}`).join(', ');
    throw new HuskError('internal', `unmount container "${id}": still busy: ${what}`, { stage: 'unmount' });
  };
}

/** Returns what is still busy after a while. */
async function unmount(pod: Pod, ops: readonly SysOp[]): Promise<readonly SysOp[]> {
  let left = ops;
  for (let tries = 0; left.length > 0 && tries <= busyTries; tries += 1) {
    if (tries > 0) await sleep(busyWaitMs);
    const results = await pod.sys.run(left);
    left = left.filter((_, index) => isBusy(results[index]));
  }
  return left;
}

/** Overlayfs takes the uppermost layer first. An image without layers is an empty root. */
export function overlay(
  folders: readonly string[],
  places: { readonly rootfs: string; readonly upper: string; readonly work: string },
  shifted: string | undefined,
): SysOp {
  if (folders.length === 0) return op('mount', places.upper, places.rootfs, '', 'bind', '');
  const lower = [...(shifted === undefined ? [] : [shifted]), ...folders.toReversed()].join(':');
  const metacopy = shifted === undefined ? '' : ',metacopy=on';
  // `volatile`: the disk ends with the pod, so writing it back serves nobody.
  const options = `lowerdir=${lower},upperdir=${places.upper},workdir=${places.work},volatile${metacopy}`;
  if (options.length > maxOptionBytes)
    throw new HuskError('resource-exhausted', `mount ${folders.length} layers: too many for overlayfs`);
  return op('mount', 'overlay', places.rootfs, 'overlay', 'nodev', options);
}

function isBusy(result: SysResult | undefined): boolean {
  return result !== undefined && !result.ok && result.bytes.toString('latin1').startsWith(`${ebusy} `);
}

/** errno(3): EBUSY. */
const ebusy = 16;

function textOf(result: SysResult | undefined): string | undefined {
  return result?.ok ? result.bytes.toString('utf8') : undefined;
}
