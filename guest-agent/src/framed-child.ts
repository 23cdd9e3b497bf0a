/** A long-lived child of the agent that takes and gives frames: a length of 32 bits, little endian, then bytes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { basename } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { HuskError } from '../../src/base/errors.ts';

export interface FramedChildOptions {
  readonly path: string;
  /** The largest frame that the child may send. */
  readonly maxFrameBytes: number;
  readonly onFrame: (body: Buffer) => void;
  /** The child is gone, and what was asked of it is lost; the next frame starts a new one. */
  readonly onLost: (error: HuskError) => void;
}

/** Puts the length in front. */
export function framed(body: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32LE(body.length);
  return Buffer.concat([head, body]);
}

export class FramedChild {
  readonly #options: FramedChildOptions;
  #child: ChildProcess | undefined;
  #input: Buffer = Buffer.alloc(0);

  constructor(options: FramedChildOptions) {
    this.#options = options;
  }

  /** Starts the child if there is none, so that it is there when it is needed. */
  start(): void {
    this.#running();
  }

  send(frame: Buffer): void {
    (this.#running().stdin as Writable).write(frame);
  }

  /** Ends the child; what waits for it hears why. */
  drop(error: HuskError): void {
    const child = this.#child;
    this.#child = undefined;
    child?.kill('SIGKILL');
    this.#options.onLost(error);
  }

  #running(): ChildProcess {
    if (this.#child !== undefined) return this.#child;
    const { path } = this.#options;
    const child = spawn(path, [], { stdio: ['pipe', 'pipe', 'inherit'], env: {} });
    this.#child = child;
    this.#input = Buffer.alloc(0);
    const lost = (why: string) => (cause?: unknown) => {
      if (this.#child === child) this.drop(new HuskError('unavailable', `${basename(path)}: ${why}`, { cause }));
    };
    child.on('error', lost('cannot be started'));
    child.on('exit', lost('ended'));
    (child.stdin as Writable).on('error', lost('input closed'));
    (child.stdout as Readable).on('data', (bytes: Buffer) => {
      if (this.#child === child) this.#read(bytes);
    });
    return child;
  }

  #read(bytes: Buffer): void {
    const { path, maxFrameBytes, onFrame } = this.#options;
    this.#input = this.#input.length === 0 ? bytes : Buffer.concat([this.#input, bytes]);
    while (this.#input.length >= 4) {
      const length = this.#input.readUInt32LE(0);
      if (length > maxFrameBytes) {
        const what = `${basename(path)} answer: ${length} bytes, at most ${maxFrameBytes}`;
        return this.drop(new HuskError('data-loss', what));
      }
      if (this.#input.length < 4 + length) return;
      const body = this.#input.subarray(4, 4 + length);
      this.#input = this.#input.subarray(4 + length);
      onFrame(body);
    }
  }
}
