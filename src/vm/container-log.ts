/** The log file of one container: whole CRI lines appended exactly once, reopened for rotation. */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { appendFlags, openBeneath } from '../base/beneath.ts';
import { HuskError, isErrno } from '../base/errors.ts';
import {
  decodeIntent,
  encodeIntent,
  type LogIntent,
  resolveIntent,
  type StreamOffsets,
  zeroOffsets,
} from './log-position.ts';

const logMode = 0o640;

export interface LogPaths {
  /** The pod's log directory, from the kubelet. */
  readonly folder: string;
  /** Beneath it. */
  readonly relative: string;
  /** Our own file that keeps the position. */
  readonly position: string;
}

/** Opens, or makes, the log of a container. `offsets` says where an earlier daemon had come to. */
export async function openContainerLog(paths: LogPaths): Promise<ContainerLog> {
  await mkdir(paths.folder, { recursive: true, mode: 0o755 });
  const offsets = await recoverOffsets(paths);
  const file = await openBeneath(paths.folder, paths.relative, appendFlags, logMode);
  try {
    const position = await open(paths.position, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    return new ContainerLog({ paths, file, position, offsets });
  } catch (caught) {
    await file.close();
    throw caught;
  }
}

interface OpenLog {
  readonly paths: LogPaths;
  readonly file: FileHandle;
  readonly position: FileHandle;
  readonly offsets: StreamOffsets;
}

/** Calls are queued: one append or reopen at a time. */
export class ContainerLog {
  readonly #paths: LogPaths;
  readonly #position: FileHandle;
  #file: FileHandle;
  #offsets: StreamOffsets;
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;
  #waiting: { readonly offsets: StreamOffsets; readonly resolve: () => void }[] = [];

  constructor(log: OpenLog) {
    this.#paths = log.paths;
    this.#file = log.file;
    this.#position = log.position;
    this.#offsets = log.offsets;
  }

  get offsets(): StreamOffsets {
    return this.#offsets;
  }

  /** Resolves when the log has all before these offsets. */
  reached(offsets: StreamOffsets): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ offsets, resolve });
    this.#tell();
    return promise;
  }

  /**
   * Appends lines that bring the stream to `endOffset`. Lines that are there already are skipped.
   * @throws HuskError `resource-exhausted` when the disk is full; nothing is half written then
   */
  append(stream: 'stdout' | 'stderr', endOffset: bigint, lines: Uint8Array): Promise<void> {
    return this.#enqueue(async () => {
      if (endOffset <= this.#offsets[stream]) return;
      const { ino, size } = await this.#file.stat({ bigint: true });
      const after = { ...this.#offsets, [stream]: endOffset };
      const intent: LogIntent = {
        inode: ino,
        sizeBefore: Number(size),
        sizeAfter: Number(size) + lines.byteLength,
        before: this.#offsets,
        after,
      };
      await this.#position.write(encodeIntent(intent), 0);
      await this.#appendWhole(lines, intent);
      this.#offsets = after;
      this.#tell();
    });
  }

  #tell(): void {
    const has = (offsets: StreamOffsets): boolean =>
      offsets.stdout <= this.#offsets.stdout && offsets.stderr <= this.#offsets.stderr;
    const [done, left] = [true, false].map((wanted) => this.#waiting.filter(({ offsets }) => has(offsets) === wanted));
    this.#waiting = left ?? [];
    for (const { resolve } of done ?? []) resolve();
  }

  async #appendWhole(lines: Uint8Array, intent: LogIntent): Promise<void> {
    try {
      for (let done = 0; done < lines.byteLength; ) {
        const { bytesWritten } = await this.#file.write(lines, done);
        done += bytesWritten;
      }
    } catch (caught) {
      await this.#file.truncate(intent.sizeBefore).catch(() => undefined);
      const full = isErrno(caught, 'ENOSPC') || isErrno(caught, 'EDQUOT');
      throw new HuskError(
        full ? 'resource-exhausted' : 'internal',
        `append to log "${this.#paths.relative}": ${String(caught)}`,
        {
          cause: caught,
          stage: 'log',
          hint: full ? 'free space on the file system of the log directory' : 'look at the log directory',
        },
      );
    }
  }

  /** Opens the path anew; the old file gets nothing more. On error the old one stays in use. */
  reopen(): Promise<void> {
    return this.#enqueue(async () => {
      const { folder, relative } = this.#paths;
      const next = await openBeneath(folder, relative, appendFlags, logMode);
      const old = this.#file;
      this.#file = next;
      await old.close();
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    await this.#enqueue(async () => {
      this.#closed = true;
      await this.#file.close();
      await this.#position.close();
    });
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#queue.then(() => {
      if (this.#closed) throw new HuskError('failed-precondition', `log "${this.#paths.relative}": closed already`);
      return work();
    });
    this.#queue = next.catch(() => undefined);
    return next;
  }
}

async function recoverOffsets(paths: LogPaths): Promise<StreamOffsets> {
  const text = await readFile(paths.position, 'latin1').catch(() => '');
  const intent = decodeIntent(text);
  if (intent === undefined) return zeroOffsets;
  const found = await findByInode(paths, intent.inode);
  if (found === undefined) return resolveIntent(intent, undefined).offsets;
  try {
    const { size } = await found.stat();
    const { offsets, truncateTo } = resolveIntent(intent, size);
    if (truncateTo !== undefined) await found.truncate(truncateTo);
    return offsets;
  } finally {
    await found.close();
  }
}

/** The kubelet rotates by renaming within the folder, so the file may have another name by now. */
async function findByInode(paths: LogPaths, inode: bigint): Promise<FileHandle | undefined> {
  const parent = dirname(paths.relative);
  const names = await readdir(join(paths.folder, parent)).catch(() => []);
  const ours = basename(paths.relative);
  const ordered = [ours, ...names.filter((name) => name !== ours && name.startsWith(ours))];
  for (const name of ordered) {
    const relative = parent === '.' ? name : `${parent}/${name}`;
    const file = await openBeneath(paths.folder, relative, constants.O_RDWR, logMode).catch(() => undefined);
    if (file === undefined) continue;
    if ((await file.stat({ bigint: true })).ino === inode) return file;
    await file.close();
  }
  return undefined;
}
