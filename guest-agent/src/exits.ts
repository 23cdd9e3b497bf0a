/** Exit statuses of orphans, as PID 1 reports them. */
import { HuskError } from '../../src/base/errors.ts';

/** While something is being started, at most this many unclaimed exits are kept. */
const maxUnclaimed = 4_096;
/** A line is `<pid> <status>\n`: two 32-bit decimals. */
const maxLineBytes = 32;

/** A process's end, decoded from wait(2). */
export interface ProcessExit {
  readonly pid: number;
  /** Exit code, or 128 + signal. */
  readonly exitCode: number;
  readonly signal: number;
}

/** Splits the FIFO's text into exits and keeps what is not yet a whole line. Lines that are none are dropped. */
export function parseExits(text: string): { readonly exits: readonly ProcessExit[]; readonly rest: string } {
  const lines = text.split('\n');
  const rest = lines.pop() ?? '';
  const exits = lines.map(parseLine).filter((exit) => exit !== undefined);
  return { exits, rest: rest.length > maxLineBytes ? '' : rest };
}

function parseLine(line: string): ProcessExit | undefined {
  const match = /^([1-9][0-9]{0,9}) ([0-9]{1,10})$/.exec(line);
  if (match === null) return undefined;
  return decodeStatus(Number(match[1]), Number(match[2]));
}

/** Decodes a wait status: the low seven bits are the signal, the next byte the exit code (wait(2)). */
export function decodeStatus(pid: number, status: number): ProcessExit {
  const signal = status & 0x7f;
  return { pid, signal, exitCode: signal === 0 ? (status >> 8) & 0xff : 128 + signal };
}

/**
 * Hands each exit to whoever waits for the pid.
 *
 * A process can end before its starter has read the pid: between `expect` and the return of
 * what it gives, exits that nobody waits for are kept.
 */
export class Exits {
  readonly #waiting = new Map<number, (exit: ProcessExit) => void>();
  readonly #unclaimed = new Map<number, ProcessExit>();
  #expecting = 0;
  #rest = '';

  /** Takes bytes of the FIFO. */
  feed(bytes: Buffer): void {
    const { exits, rest } = parseExits(this.#rest + bytes.toString('latin1'));
    this.#rest = rest;
    for (const exit of exits) this.#deliver(exit);
  }

  /** Runs `start`, which starts processes and calls `exitOf` for them before it returns. */
  async expect<T>(start: () => Promise<T>): Promise<T> {
    this.#expecting += 1;
    try {
      return await start();
    } finally {
      this.#expecting -= 1;
      if (this.#expecting === 0) this.#unclaimed.clear();
    }
  }

  /**
   * Resolves when the process has ended. Has no deadline of its own: a container may run for years.
   * @throws HuskError `internal` if someone waits for the pid already
   */
  exitOf(pid: number): Promise<ProcessExit> {
    const early = this.#unclaimed.get(pid);
    if (early !== undefined) {
      this.#unclaimed.delete(pid);
      return Promise.resolve(early);
    }
    if (this.#waiting.has(pid)) throw new HuskError('internal', `exit of pid "${pid}": waited for twice`);
    const { promise, resolve } = Promise.withResolvers<ProcessExit>();
    this.#waiting.set(pid, resolve);
    return promise;
  }

  #deliver(exit: ProcessExit): void {
    const resolve = this.#waiting.get(exit.pid);
    if (resolve !== undefined) {
      this.#waiting.delete(exit.pid);
      resolve(exit);
      return;
    }
    if (this.#expecting > 0 && this.#unclaimed.size < maxUnclaimed) this.#unclaimed.set(exit.pid, exit);
  }
}
