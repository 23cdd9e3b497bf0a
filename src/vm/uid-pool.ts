import { mkdirSync, readdirSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { HuskError, isErrno } from '../base/errors.ts';

export interface UidRange {
  readonly first: number;
  readonly count: number;
  /**
   * Folder that all daemons of the machine share, gone with a reboot. A uid that is in use is a
   * symbolic link in it that points at the owner: made and written in one step, by one daemon only.
   */
  readonly leases: string;
  /** This daemon: its root directory. */
  readonly owner: string;
}

/**
 * Host uids for VMs, one each: what escapes from one VM owns nothing of another, also when that
 * belongs to another daemon.
 */
export class UidPool {
  readonly #range: UidRange;
  readonly #taken = new Set<number>();
  #next = 0;

  /**
   * Takes up the uids of pods that an earlier daemon left, and gives back what it held for no pod.
   * @param held those that a record names
   */
  constructor(range: UidRange, held: readonly number[]) {
    this.#range = range;
    mkdirSync(range.leases, { recursive: true, mode: 0o700 });
    for (const uid of held) {
      this.#taken.add(uid);
      this.#lease(uid);
    }
    for (const name of readdirSync(range.leases)) if (!this.#taken.has(Number(name))) this.give(Number(name));
  }

  /**
   * A uid that nobody holds; the one given back last is used last.
   * @throws HuskError `resource-exhausted`
   */
  take(): number {
    const { first, count } = this.#range;
    for (let tries = 0; tries < count; tries += 1) {
      const uid = first + this.#next;
      this.#next = (this.#next + 1) % count;
      if (this.#taken.has(uid) || !this.#lease(uid)) continue;
      this.#taken.add(uid);
      return uid;
    }
    throw new HuskError('resource-exhausted', `take a uid for a VM: all ${count} from ${first} are in use`, {
      hint: 'remove pods',
    });
  }

  give(uid: number): void {
    this.#taken.delete(uid);
    if (ownerOf(this.#path(uid)) === this.#range.owner) rmSync(this.#path(uid), { force: true });
  }

  #path(uid: number): string {
    return join(this.#range.leases, String(uid));
  }

  /**
   * Whether it is ours now. One of another daemon stays until a reboot, also when that daemon's folders were deleted: its VMs may run on.
   */
  #lease(uid: number): boolean {
    const { owner } = this.#range;
    const path = this.#path(uid);
    try {
      symlinkSync(owner, path);
      return true;
    } catch (caught) {
      if (!isErrno(caught, 'EEXIST')) throw HuskError.from(caught, 'uid');
      return ownerOf(path) === owner;
    }
  }
}

function ownerOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
