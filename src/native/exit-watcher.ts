/** The exit files of conmon: one for each container, written after the last line of its log. */
import { type FSWatcher, watch } from 'node:fs';
import { open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../base/errors.ts';

/** Should a notification be lost, this is how long an exit goes unnoticed. */
const rescanMs = 10_000;

export interface ExitFile {
  readonly exitCode: number;
  readonly finishedAtNs: bigint;
}

/** Tells of every exit file that is there or comes; of the same one perhaps more than once. */
export class ExitWatcher {
  readonly #folder: string;
  readonly #onExit: (containerId: string) => void;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(folder: string, onExit: (containerId: string) => void) {
    this.#folder = folder;
    this.#onExit = onExit;
  }

  /** Starts to watch. What lies there already is the recovery's to read. */
  start(): void {
    this.#watcher = watch(this.#folder, { persistent: false }, (_, name) => this.#tell(name));
    this.#timer = setInterval(() => void this.#scan(), rescanMs).unref();
  }

  close(): void {
    this.#watcher?.close();
    clearInterval(this.#timer);
  }

  async read(containerId: string): Promise<ExitFile | undefined> {
    try {
      await using file = await open(join(this.#folder, containerId), 'r');
      const { mtimeNs } = await file.stat({ bigint: true });
      return { exitCode: parseExitCode(await file.readFile('latin1')), finishedAtNs: mtimeNs };
    } catch (caught) {
      if (isErrno(caught, 'ENOENT')) return undefined;
      throw caught;
    }
  }

  async forget(containerId: string): Promise<void> {
    await rm(join(this.#folder, containerId), { force: true });
  }

  async #scan(): Promise<void> {
    for (const name of await readdir(this.#folder).catch(() => [])) this.#tell(name);
  }

  #tell(name: string | null): void {
    if (name !== null && /^[0-9a-f]{64}$/.test(name)) this.#onExit(name);
  }
}

/** The number in an exit file. conmon writes -1 when it does not know: 255, as a shell would say. */
export function parseExitCode(text: string): number {
  const code = /^\d{1,3}$/.test(text.trim()) ? Number(text) : 255;
  return Math.min(code, 255);
}
