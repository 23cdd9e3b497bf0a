/** Layers of images whose files belong to the pod's user namespace. */
import { mkdir, rm } from 'node:fs/promises';
import { HuskError } from '../../src/base/errors.ts';
import type { Layer } from '../../src/gen/agent/v1/agent.ts';
import { op, tryOp } from '../../src/guest/sys-batch.ts';
import { podPlaces } from './places.ts';
import type { Pod } from './pod.ts';
import { runTool } from './tool.ts';
import type { PodIds } from './user-ids.ts';

/** A file takes about a millisecond under emulation. */
const shiftMs = 90_000;

/**
 * The guest's kernel cannot map the ids of squashfs (mount_setattr(2): since 6.2). So a layer is put on top
 * that holds owner and mode of each file, and of none its content (overlayfs, "Metadata only copy up"). It is made
 * once for the layers of an image, and stays until the pod ends: the range of a layer on the layers disk does too.
 */
export class ShiftedLayers {
  readonly #pod: Pod;
  readonly #made = new Map<string, string>();

  constructor(pod: Pod) {
    this.#pod = pod;
  }

  /**
   * The folder to put on top; undefined where the pod's containers are in the guest's own user namespace.
   * The caller holds the lock of the layers, which are mounted.
   *
   * @param folders of the layers in the layers' folder, lowest first
   * @throws HuskError
   */
  async over(layers: readonly Layer[], folders: readonly string[]): Promise<string | undefined> {
    const { ids } = this.#pod;
    if (ids === undefined || layers.length === 0) return undefined;
    const key = layers.map(({ offsetBytes }) => offsetBytes).join(' ');
    const known = this.#made.get(key);
    if (known !== undefined) return known;
    const upper = await this.#make(`${podPlaces(this.#pod.settings).shiftedFolder}/${this.#made.size}`, folders, ids);
    this.#made.set(key, upper);
    return upper;
  }

  async #make(folder: string, folders: readonly string[], ids: PodIds): Promise<string> {
    const [upper, work, root] = [`${folder}/upper`, `${folder}/work`, `${folder}/root`];
    // What an earlier try left.
    await rm(folder, { recursive: true, force: true });
    for (const path of [upper, work, root]) await mkdir(path, { recursive: true, mode: 0o755 });
    const { settings, sys } = this.#pod;
    const lower = folders.toReversed().join(':');
    const options = `lowerdir=${lower},upperdir=${upper},workdir=${work},volatile,metacopy=on`;
    await sys.run([
      op('chdir', podPlaces(settings).layersFolder),
      op('mount', 'overlay', root, 'overlay', 'nodev,nosuid,noexec', options),
      op('chdir', '/'),
    ]);
    const { uids, gids } = ids;
    const args = [root, String(uids.hostId), String(gids.hostId), `${uids.length}:${gids.length}`];
    try {
      const { exitCode, stderr } = await runTool(settings.shiftPath, args, { timeoutMs: shiftMs });
      if (exitCode !== 0)
        throw new HuskError('internal', `give the image's files to the user namespace: ${stderr.trim().slice(0, 300)}`);
    } finally {
      await sys.run([tryOp('umount', root)]);
    }
    await rm(work, { recursive: true, force: true });
    return upper;
  }
}
