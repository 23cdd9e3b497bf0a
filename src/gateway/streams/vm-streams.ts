/** The bulk channel of a VM, opened when it is first wanted and again after it was lost. */
import { join } from 'node:path';
import { BulkLink, type LinkOptions } from './stream-link.ts';

/** Beside the agent's socket (src/jail/launcher.ts). */
const socketName = 'bulk.sock';

export class VmStreams {
  readonly #path: string;
  readonly #options: Omit<LinkOptions, 'onClosed'>;
  #link: Promise<BulkLink> | undefined;
  #closed = false;

  /** @param stateFolder of the VM */
  constructor(stateFolder: string, options: Omit<LinkOptions, 'onClosed'>) {
    this.#path = join(stateFolder, socketName);
    this.#options = options;
  }

  /** @throws HuskError `unavailable`, `deadline-exceeded`, `data-loss` */
  async link(): Promise<BulkLink> {
    if (this.#link === undefined) {
      const link = BulkLink.open(this.#path, {
        ...this.#options,
        onClosed: () => {
          if (this.#link === link) this.#link = undefined;
        },
      });
      this.#link = link;
      link.catch(() => {
        if (this.#link === link) this.#link = undefined;
      });
      link.then(
        (opened) => this.#closed && opened.close(),
        () => undefined,
      );
    }
    return await this.#link;
  }

  close(): void {
    this.#closed = true;
    this.#link?.then(
      (link) => link.close(),
      () => undefined,
    );
  }
}
