import { mkdir, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { HuskError, isErrno } from '../base/errors.ts';
import { run } from '../base/exec.ts';
import { shortId } from '../base/ids.ts';

/** Type of a mounted namespace file: NSFS_MAGIC of linux/magic.h. */
const nsfsMagic = 0x6e736673;
const timeoutMs = 10_000;

/** Network namespaces with a name, where `ip netns` looks for them too. */
export class NamedNamespaces {
  readonly #folder: string;
  readonly #prefix: string;

  /**
   * @param folder `/run/netns`; `ip -n` knows no other
   * @param prefix how the names of this daemon's namespaces begin
   */
  constructor(folder: string, prefix = 'husk') {
    this.#folder = folder;
    this.#prefix = prefix;
  }

  /** The path of a pod's namespace, there or not. */
  path(sandboxId: string): string {
    return join(this.#folder, `${this.#prefix}-${shortId(sandboxId)}`);
  }

  /**
   * Creates a pod's namespace with loopback up, in one process: `unshare` binds the namespace
   * it makes to the file, then becomes `ip`, which brings loopback up in it.
   *
   * @throws HuskError `already-exists`
   */
  async create(sandboxId: string, signal?: AbortSignal): Promise<string> {
    const path = this.path(sandboxId);
    await mkdir(this.#folder, { recursive: true, mode: 0o755 });
    try {
      await (await open(path, 'wx', 0o444)).close();
    } catch (caught) {
      if (!isErrno(caught, 'EEXIST')) throw HuskError.from(caught, 'create-netns');
      throw new HuskError('already-exists', `create network namespace "${path}": it exists`, {
        stage: 'create-netns',
        cause: caught,
      });
    }
    try {
      await run('unshare', [`--net=${path}`, 'ip', 'link', 'set', 'lo', 'up'], {
        timeoutMs,
        signal,
        stage: 'create-netns',
      });
      return path;
    } catch (caught) {
      await this.remove(sandboxId);
      throw caught;
    }
  }

  /** Removes a pod's namespace; absent is fine. Processes in it keep it alive until they end. */
  async remove(sandboxId: string): Promise<void> {
    const path = this.path(sandboxId);
    // A file can be mounted over more than once; a file that is no mount is left of a creation that was cut short.
    for (let mounts = 0; mounts < 8 && (await isNamespace(path)); mounts += 1) {
      await run('umount', ['-l', '--no-canonicalize', path], { timeoutMs, stage: 'remove-netns' });
    }
    await rm(path, { force: true });
  }
}

/** Whether a namespace stands at the path. */
export async function isNamespace(path: string): Promise<boolean> {
  try {
    return (await statfs(path)).type === nsfsMagic;
  } catch (caught) {
    if (isErrno(caught, 'ENOENT')) return false;
    throw HuskError.from(caught, 'netns');
  }
}
