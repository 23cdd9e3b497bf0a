/** The running husk-sys process. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { HuskError } from '../../src/base/errors.ts';
import {
  decodeAnswer,
  encodeBatch,
  maxBatchBytes,
  requireDone,
  type SysOp,
  type SysResult,
} from '../../src/guest/sys-batch.ts';

/** Mounts of a pod's own disks take milliseconds; even an emulated guest is done far earlier. */
const batchDeadlineMs = 30_000;

interface Waiting {
  readonly ops: readonly SysOp[];
  readonly settle: (outcome: HuskError | readonly SysResult[]) => void;
  readonly timer: NodeJS.Timeout;
}

/** Runs batches of system calls. */
export interface Sys {
  /**
   * Runs the batch; batches never overlap.
   * @throws HuskError `internal` with the operation that failed; `unavailable` when the program died
   */
  run(ops: readonly SysOp[]): Promise<readonly SysResult[]>;
}

/**
 * husk-sys as one long-lived child: a batch then costs a write and a read, where a new process
 * costs up to 100 ms in a fresh clone under emulation. A child that dies or hangs fails the
 * batches under way, and the next batch starts a new one.
 */
export class SysHelper implements Sys {
  readonly #path: string;
  #child: ChildProcess | undefined;
  #waiting: Waiting[] = [];
  #input: Buffer = Buffer.alloc(0);

  constructor(path: string) {
    this.#path = path;
  }

  run(ops: readonly SysOp[]): Promise<readonly SysResult[]> {
    const frame = encodeBatch(ops);
    const { promise, resolve, reject } = Promise.withResolvers<readonly SysResult[]>();
    const timer = setTimeout(() => {
      this.#drop(new HuskError('deadline-exceeded', `husk-sys batch: no answer within ${batchDeadlineMs} ms`));
    }, batchDeadlineMs);
    const settle: Waiting['settle'] = (outcome) => {
      clearTimeout(timer);
      if (outcome instanceof HuskError) reject(outcome);
      else resolve(outcome);
    };
    const child = this.#start();
    this.#waiting.push({ ops, settle, timer });
    (child.stdin as Writable).write(frame);
    return promise;
  }

  /** Ends the child. */
  close(): void {
    this.#drop(new HuskError('unavailable', 'husk-sys: the agent is closing'));
  }

  #start(): ChildProcess {
    if (this.#child !== undefined) return this.#child;
    const child = spawn(this.#path, [], { stdio: ['pipe', 'pipe', 'inherit'], env: {} });
    this.#child = child;
    this.#input = Buffer.alloc(0);
    const lost = (why: string) => (cause?: unknown) => {
      if (this.#child === child) this.#drop(new HuskError('unavailable', `husk-sys: ${why}`, { cause }));
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
    this.#input = this.#input.length === 0 ? bytes : Buffer.concat([this.#input, bytes]);
    while (this.#input.length >= 4) {
      const length = this.#input.readUInt32LE(0);
      if (length > maxBatchBytes) {
        return this.#drop(new HuskError('data-loss', `husk-sys answer: ${length} bytes, at most ${maxBatchBytes}`));
      }
      if (this.#input.length < 4 + length) return;
      const body = this.#input.subarray(4, 4 + length);
      this.#input = this.#input.subarray(4 + length);
      this.#answer(body);
    }
  }

  #answer(body: Buffer): void {
    const next = this.#waiting.shift();
    if (next === undefined) return;
    try {
      next.settle(requireDone(next.ops, decodeAnswer(body)));
    } catch (caught) {
      next.settle(HuskError.from(caught));
    }
  }

  #drop(error: HuskError): void {
    const child = this.#child;
    this.#child = undefined;
    child?.kill('SIGKILL');
    for (const waiting of this.#waiting.splice(0)) waiting.settle(error);
  }
}
