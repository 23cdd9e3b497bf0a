/** The containers of native pods that this daemon knows to have a process, and their ends. */

export interface LiveContainer {
  readonly id: string;
  readonly sandboxId: string;
  readonly cgroupParent: string;
  /** Resolves when its exit has been reported. */
  readonly ended: Promise<void>;
}

interface Entry extends LiveContainer {
  readonly end: () => void;
  reporting: boolean;
}

/** In memory alone: the pid files and exit files on the disk are the truth, read again at start. */
export class LiveContainers {
  readonly #entries = new Map<string, Entry>();

  add(container: Omit<LiveContainer, 'ended'>): LiveContainer {
    const known = this.#entries.get(container.id);
    if (known !== undefined) return known;
    const { promise, resolve } = Promise.withResolvers<void>();
    const entry: Entry = { ...container, ended: promise, end: resolve, reporting: false };
    this.#entries.set(container.id, entry);
    return entry;
  }

  get(id: string): LiveContainer | undefined {
    return this.#entries.get(id);
  }

  of(sandboxId: string): LiveContainer[] {
    return [...this.#entries.values()].filter((entry) => entry.sandboxId === sandboxId);
  }

  /** True once for each container: the caller reports its exit. */
  claimExit(id: string): boolean {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.reporting) return false;
    entry.reporting = true;
    return true;
  }

  /** Its exit has been reported, or nobody is to hear of it any more. */
  finish(id: string): void {
    this.#entries.get(id)?.end();
    this.#entries.delete(id);
  }
}
