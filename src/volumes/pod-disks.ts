/** The disks of one VM pod: plugged in when a container asks for them, as large as the host's devices are. */
import { HuskError } from '../base/errors.ts';
import type { Volume } from '../gen/agent/v1/agent.ts';
import type { Mount } from '../gen/cri/v1/api.ts';
import { DiskSizes } from './disk-sizes.ts';
import type { VolumeKind } from './kinds.ts';
import { volumeId } from './wire.ts';

/** What is asked of the VM. */
export interface DiskHost {
  /** Makes a volume in the guest; the file system of one that is there becomes as large as its disk. */
  put(volume: Volume): Promise<void>;
  /** Plugs a block device into the VM; its serial there. */
  attachBlock(path: string, readonly: boolean): Promise<string>;
  /** Gives the disk with the serial this size; the size that it had. */
  resizeBlock(serial: string, sizeBytes: number): Promise<number>;
  /** A disk could not be brought to the size of its device; it is tried again. */
  failed(path: string, caught: unknown): void;
}

interface Disk {
  readonly path: string;
  readonly serial: string;
  readonly volume: Volume;
  /** It has a file system that the guest has mounted and may write. */
  readonly grows: boolean;
}

export class PodDisks {
  readonly #host: DiskHost;
  readonly #disks = new Map<string, Disk>();
  readonly #sizes: DiskSizes;

  constructor(host: DiskHost) {
    this.#host = host;
    this.#sizes = new DiskSizes({
      changed: (path, bytes, known) => this.#resize(path, bytes, known),
      failed: (path, caught) => host.failed(path, caught),
    });
  }

  /**
   * A disk that one container may only read is another disk than the same one written: the host sees to it. A file
   * system is mounted once; which containers may write to it the guest decides.
   */
  async volumeOf(mount: Mount, { path, fsType, options }: Extract<VolumeKind, { kind: 'block' }>): Promise<Volume> {
    const readonly = fsType === '' ? mount.readonly : options.includes('ro');
    if (fsType !== '' && (mount.uidMappings.length > 0 || mount.gidMappings.length > 0))
      throw new HuskError(
        'unimplemented',
        `config.mounts "${mount.containerPath.slice(0, 200)}": ids of a file system on a disk cannot be mapped`,
        { stage: 'volumes' },
      );
    const serial = await this.#host.attachBlock(path, readonly);
    const value = { serial, fsType, options: [...options], readonly };
    const id = volumeId('block', `${serial} ${fsType}`);
    const volume: Volume = { id, kind: { $case: 'block', value }, idMapped: false };
    this.#disks.set(id, { path, serial, volume, grows: fsType !== '' && !readonly });
    this.#sizes.follow(path);
    return volume;
  }

  close(): Promise<void> {
    this.#disks.clear();
    return this.#sizes.close();
  }

  async #resize(path: string, bytes: number, known: number | undefined): Promise<void> {
    for (const { serial, volume, grows } of [...this.#disks.values()].filter((disk) => disk.path === path)) {
      const had = await this.#host.resizeBlock(serial, bytes);
      // A file system that is smaller than its disk from the start is so on purpose.
      if (grows && bytes > Math.min(had, known ?? had)) await this.#host.put(volume);
    }
  }
}
