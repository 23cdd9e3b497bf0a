/** The running husk-exec process. */
import { HuskError } from '../../src/base/errors.ts';
import {
  decodeExecAnswer,
  type ExecAnswer,
  type ExecTarget,
  type ExecWish,
  encodeExec,
  encodeKeep,
  maxAnswerBytes,
} from './exec-request.ts';
import { FramedChild } from './framed-child.ts';

/** A start takes some ten milliseconds under emulation; far beyond that the container's files hang. */
const startMs = 30_000;

type Settle = (outcome: ExecAnswer['outcome'] | HuskError) => void;

/**
 * husk-exec as one long-lived child, started in the template. One that dies fails the starts
 * under way, and the next start gets a new one.
 */
export class ExecHelper {
  readonly #child: FramedChild;
  readonly #waiting = new Map<number, Settle>();
  #last = 0;

  constructor(path: string) {
    this.#child = new FramedChild({
      path,
      maxFrameBytes: maxAnswerBytes,
      onFrame: (body) => this.#take(body),
      onLost: (error) => {
        for (const settle of [...this.#waiting.values()]) settle(error);
      },
    });
  }

  /** Starts the program itself. */
  start(): void {
    this.#child.start();
  }

  /** Ends the program; processes that it started run on. */
  close(): void {
    this.#child.drop(new HuskError('unavailable', 'husk-exec: the agent is closing'));
  }

  /**
   * Starts a process and returns its pid, as the guest counts. It is PID 1's child from then on.
   *
   * @throws HuskError `unknown` in the words of `runc exec`, `deadline-exceeded`, `unavailable`
   */
  async exec(target: ExecTarget, wish: ExecWish): Promise<number> {
    const outcome = await this.#ask('start a process', (id) => encodeExec(id, target, wish));
    if ('pid' in outcome) return outcome.pid;
    const why = `exec failed: unable to start container process: ${outcome.error}`;
    throw new HuskError('unknown', `OCI runtime exec: exit code 255: ${why}`, { stage: 'oci-runtime' });
  }

  /**
   * Writes the seccomp filter of a container that was created and not started into a new file.
   * @throws HuskError `unknown`, `deadline-exceeded`, `unavailable`
   */
  async keepFilter(target: Pick<ExecTarget, 'pid' | 'startTicks'>, path: string): Promise<void> {
    const outcome = await this.#ask('keep the seccomp filter', (id) => encodeKeep(id, target, path));
    if ('error' in outcome) throw new HuskError('unknown', `husk-exec: ${outcome.error}`, { stage: 'oci-runtime' });
  }

  #ask(what: string, encode: (id: number) => Buffer): Promise<ExecAnswer['outcome']> {
    this.#last += 1;
    const id = this.#last;
    const frame = encode(id);
    const { promise, resolve, reject } = Promise.withResolvers<ExecAnswer['outcome']>();
    const settle: Settle = (outcome) => {
      clearTimeout(timer);
      this.#waiting.delete(id);
      if (outcome instanceof HuskError) reject(outcome);
      else resolve(outcome);
    };
    // Not made ahead: an error takes a picture of the stack, which is much code in a clone.
    const late = (): void =>
      settle(new HuskError('deadline-exceeded', `husk-exec: ${what}: no answer within ${startMs} ms`));
    const timer = setTimeout(late, startMs);
    this.#child.start();
    this.#waiting.set(id, settle);
    this.#child.send(frame);
    return promise;
  }

  #take(body: Buffer): void {
    try {
      const { id, outcome } = decodeExecAnswer(body);
      this.#waiting.get(id)?.(outcome);
    } catch (caught) {
      this.#child.drop(HuskError.from(caught));
    }
  }
}
