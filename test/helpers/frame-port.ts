import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { withDeadline } from '../../src/base/deadline.ts';
import { run } from '../../src/base/exec.ts';

/** Compiles the program that test/fixtures/frames.c is; returns its path. */
export async function buildFrames(folder: string): Promise<string> {
  const program = join(folder, 'frames');
  const source = join(import.meta.dirname, '../fixtures/frames.c');
  await run('gcc', ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-o', program, source], { timeoutMs: 60_000 });
  return program;
}

/** An end at which frames are sent and seen. */
export class FramePort {
  /** Every frame seen so far. */
  readonly seen: Buffer[] = [];
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #ended: Promise<unknown>;
  readonly #ready = Promise.withResolvers<void>();
  #wake = Promise.withResolvers<void>();

  private constructor(command: readonly [string, ...string[]]) {
    const [file, ...args] = command;
    this.#child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#ended = new Promise((resolve) => this.#child.once('close', resolve));
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      if (line === 'ready') return this.#ready.resolve();
      this.seen.push(Buffer.from(line, 'hex'));
      this.#wake.resolve();
      this.#wake = Promise.withResolvers();
    });
  }

  /** Makes a tap in a namespace and stands behind it as the guest. */
  static async tap(program: string, netnsPath: string, name: string): Promise<FramePort> {
    return await FramePort.#open(['nsenter', `--net=${netnsPath}`, program, 'tap', name]);
  }

  /** Sees what an interface of the host receives. */
  static async sniff(program: string, name: string): Promise<FramePort> {
    return await FramePort.#open([program, 'sniff', name]);
  }

  static async #open(command: readonly [string, ...string[]]): Promise<FramePort> {
    const port = new FramePort(command);
    await withDeadline(command.join(' '), 5_000, undefined, () => port.#ready.promise);
    return port;
  }

  send(frame: Buffer): void {
    this.#child.stdin.write(`${frame.toString('hex')}\n`);
  }

  /** The first frame, seen already or within five seconds, that `wanted` accepts. */
  async find(what: string, wanted: (frame: Buffer) => boolean): Promise<Buffer> {
    return await withDeadline(what, 5_000, undefined, async (signal) => {
      for (let at = 0; ; ) {
        const next = this.#wake.promise;
        for (; at < this.seen.length; at += 1) {
          const frame = this.seen[at];
          if (frame !== undefined && wanted(frame)) return frame;
        }
        signal.throwIfAborted();
        await next;
      }
    });
  }

  async close(): Promise<void> {
    this.#child.stdin.end();
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}
