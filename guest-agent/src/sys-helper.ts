/** The running husk-sys process. */
import { HuskError } from '../../src/base/errors.ts';
import {
  decodeAnswer,
  encodeBatch,
  maxBatchBytes,
  requireDone,
  type SysOp,
  type SysResult,
} from '../../src/guest/sys-batch.ts';
import { FramedChild } from './framed-child.ts';

/** Mounts of a pod's own disks take milliseconds; even an emulated guest is done far earlier. */
const batchDeadlineMs = 30_000;

interface Waiting {
  readonly ops: readonly SysOp[];
  readonly settle: (outcome: HuskError | readonly SysResult[]) => void;
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
  readonly #child: FramedChild;
  #waiting: Waiting[] = [];

  constructor(path: string) {
    this.#child = new FramedChild({
      path,
      maxFrameBytes: maxBatchBytes,
      onFrame: (body) => this.#answer(body),
      onLost: (error) => {
        for (const waiting of this.#waiting.splice(0)) waiting.settle(error);
      },
    });
  }

  run(ops: readonly SysOp[]): Promise<readonly SysResult[]> {
    const frame = encodeBatch(ops);
    const { promise, resolve, reject } = Promise.withResolvers<readonly SysResult[]>();
    const timer = setTimeout(() => {
      this.#child.drop(new HuskError('deadline-exceeded', `husk-sys batch: no answer within ${batchDeadlineMs} ms`));
    }, batchDeadlineMs);
    const settle: Waiting['settle'] = (outcome) => {
      clearTimeout(timer);
      if (outcome instanceof HuskError) reject(outcome);
      else resolve(outcome);
    };
    this.#child.start();
    this.#waiting.push({ ops, settle });
    this.#child.send(frame);
    return promise;
  }

  /** Ends the child. */
  close(): void {
    this.#child.drop(new HuskError('unavailable', 'husk-sys: the agent is closing'));
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
}
