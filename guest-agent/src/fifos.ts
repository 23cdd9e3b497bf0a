/** FIFOs for the standard streams of containers and execs. */
import { chownSync, closeSync, constants, openSync, readSync, unlinkSync } from 'node:fs';
import { Socket } from 'node:net';
import { HuskError, isErrno } from '../../src/base/errors.ts';
import type { Log } from '../../src/base/log.ts';
import { op } from '../../src/guest/sys-batch.ts';
import type { Sys } from './sys-helper.ts';

/** Made at once: a batch costs the same for one as for many. */
const batchSize = 32;
/** Below this the next ones are made while nobody waits. */
const lowWater = 12;

type Owner = { readonly root: { readonly uid: number; readonly gid: number } };

/** Both ends of a FIFO that has no name any more. */
export interface OpenFifo {
  /** What the process writes. Paused; closes by itself at the end. */
  readonly output: Socket;
  /** To be the process's descriptor; the caller closes it once the process has it. */
  readonly writeFd: number;
}

/**
 * A stock of named FIFOs. Node has pipes only as socket pairs, and a container cannot open
 * /dev/stdout when that is a socket (ENXIO). Each is used once, so that no process keeps an
 * end of another container's stream.
 */
export class FifoPool {
  readonly #sys: Sys;
  readonly #folder: string;
  readonly #log: Log;
  #ready: string[] = [];
  #owner: () => Owner | undefined = () => undefined;
  #filling: Promise<void> | undefined;
  #made = 0;

  /** @param folder an existing folder that only root can enter */
  constructor(sys: Sys, folder: string, log: Log) {
    this.#sys = sys;
    this.#folder = folder;
    this.#log = log;
  }

  /** Makes the first ones. */
  fill(): Promise<void> {
    this.#filling ??= this.#make().finally(() => {
      this.#filling = undefined;
    });
    return this.#filling;
  }

  /** Takes and opens as many as asked for. */
  async open(count: number): Promise<OpenFifo[]> {
    while (this.#ready.length < count) await this.fill();
    const fifos = this.#next(count).map(openFifo);
    if (this.#ready.length < lowWater) {
      this.fill().catch((error: unknown) => this.#log.warn({ error }, 'FIFOs cannot be made'));
    }
    return fifos;
  }

  /** Takes as many FIFOs as asked for. They keep their names: the caller unlinks them. */
  async take(count: number): Promise<string[]> {
    while (this.#ready.length < count) await this.fill();
    return this.#next(count);
  }

  /** In a user namespace a process may open /dev/stdout again only when that is one of the namespace's own. */
  ownedBy(owner: () => Owner | undefined): void {
    this.#owner = owner;
  }

  #next(count: number): string[] {
    const paths = this.#ready.splice(0, count);
    const root = this.#owner()?.root;
    if (root !== undefined) for (const path of paths) chownSync(path, root.uid, root.gid);
    return paths;
  }

  /** Opens one for reading and writing: who inherits it reads what is written here, and never its end. */
  async openControl(): Promise<number> {
    const [path] = await this.take(1);
    if (path === undefined) throw new HuskError('internal', 'open a FIFO: none is ready');
    const fd = openSync(path, constants.O_RDWR);
    unlinkSync(path);
    return fd;
  }

  async #make(): Promise<void> {
    const paths = Array.from({ length: batchSize }, (_, index) => `${this.#folder}/${this.#made + index}`);
    this.#made += batchSize;
    await this.#sys.run(paths.map((path) => op('mkfifo', path)));
    this.#ready.push(...paths);
  }
}

function openFifo(path: string): OpenFifo {
  // The reader first: without one, opening for writing would wait.
  const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writeFd = openSync(path, constants.O_WRONLY);
  unlinkSync(path);
  const output = fifoReader(readFd);
  output.pause();
  return { output, writeFd };
}

const descriptors = new WeakMap<Socket, number>();

/** A stream of what is written to a FIFO. */
export function fifoReader(fd: number): Socket {
  const output = new Socket({ fd, readable: true, writable: false });
  // An error of a pipe's read end is its end; without a listener it would end the agent.
  output.on('error', () => output.destroy());
  descriptors.set(output, fd);
  return output;
}

/** What lies in the FIFO now: `undefined` when that is nothing yet, no bytes when no more can come. */
export function readNow(output: Socket, into: Buffer): Buffer | undefined {
  const fd = descriptors.get(output);
  if (fd === undefined || output.destroyed || output.readableEnded) return into.subarray(0, 0);
  try {
    return into.subarray(0, readSync(fd, into));
  } catch (caught) {
    if (isErrno(caught, 'EAGAIN')) return undefined;
    throw HuskError.from(caught);
  }
}

/** Closes what the process has inherited. */
export function closeWriters(fifos: readonly OpenFifo[]): void {
  for (const { writeFd } of fifos) closeSync(writeFd);
}
