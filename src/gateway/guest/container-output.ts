/** Output and exit of one container, between its guest and huskd. */
import { HuskError } from '../../base/errors.ts';
import type { ContainerExited, Output } from '../../gen/agent/v1/agent.ts';
import { protocolError } from '../check/answers.ts';
import { maxOutputBytes } from '../limits.ts';
import { CriLogStream, type FormattedChunk } from '../log/cri-log.ts';

/**
 * A chunk for huskd is closed once it has this many bytes of records: as much as a guest holds
 * of a stream, because a round trip to huskd costs more than the bytes in it.
 */
const chunkBytes = 256 * 1024;

/** Which of a container's two streams. */
export type StreamName = 'stdout' | 'stderr';

/** One stream. At most one chunk of it is on its way to huskd. */
export class StreamOutput {
  readonly #name: StreamName;
  #log: CriLogStream;
  #acked: bigint;
  /** The offset of the next byte that the guest must send. */
  #expected: bigint;
  #chunk: FormattedChunk | undefined;
  #sent = false;

  constructor(name: StreamName, offset: bigint) {
    this.#name = name;
    this.#log = new CriLogStream(name, offset);
    this.#acked = offset;
    this.#expected = offset;
  }

  /** What huskd has written. */
  get acked(): bigint {
    return this.#acked;
  }

  get heldBytes(): number {
    return this.#log.heldBytes;
  }

  /** Whether huskd has all that came. */
  get settled(): boolean {
    return this.#chunk === undefined && this.#log.heldBytes === 0;
  }

  /**
   * The guest starts anew at what was acknowledged. A chunk that huskd may be writing right
   * now stays, and the bytes in it are skipped when they come again.
   */
  restart(): void {
    this.#expected = this.#acked;
    this.#log = new CriLogStream(this.#name, this.#chunk?.endOffset ?? this.#acked);
  }

  /** @throws HuskError `data-loss` when it is not what must come next */
  take(output: Output, nowNs: bigint): void {
    const { data, offset, end } = output;
    // An acknowledgement from before a restart lets the guest skip what it had not repeated yet.
    const skips = offset === this.#acked && offset > this.#expected;
    if (offset !== this.#expected && !skips)
      throw protocolError(`${this.#name} at offset ${offset}: want ${this.#expected}`);
    if (data.length > maxOutputBytes)
      throw protocolError(`${data.length} bytes of output: want at most ${maxOutputBytes}`);
    if (data.length === 0 && !end) throw protocolError('output without a byte and without an end');
    if (this.#log.ended) throw protocolError(`${this.#name} after its end`);
    const skip = this.#log.nextOffset - offset;
    this.#expected = offset + BigInt(data.length);
    if (skip < BigInt(data.length)) this.#log.push(skip > 0n ? data.subarray(Number(skip)) : data, nowNs);
    if (end) this.end();
  }

  /** No more output can come. */
  end(): void {
    if (this.#expected < this.#log.nextOffset && this.#acked < this.#log.nextOffset)
      throw protocolError(`${this.#name} ends before what it had sent earlier`);
    this.#log.end();
  }

  /** The chunk to send to huskd now, if any. */
  nextChunk(): FormattedChunk | undefined {
    if (this.#chunk !== undefined && this.#sent) return undefined;
    this.#chunk ??= this.#log.take(chunkBytes);
    this.#sent = this.#chunk !== undefined;
    return this.#chunk;
  }

  /** huskd has a new session: what it did not acknowledge is sent again. */
  sendAgain(): void {
    this.#sent = false;
  }

  /** True when it is news: the guest is to be told. */
  acknowledge(offset: bigint): boolean {
    if (this.#chunk === undefined || offset !== this.#chunk.endOffset) return false;
    this.#acked = offset;
    this.#chunk = undefined;
    return true;
  }
}

/** One container. */
export class ContainerOutput {
  readonly id: string;
  readonly stdout: StreamOutput;
  readonly stderr: StreamOutput;
  #exit: ContainerExited | undefined;
  #exitSent = false;
  #exitAcked = false;

  constructor(id: string, stdoutOffset: bigint, stderrOffset: bigint) {
    this.id = id;
    this.stdout = new StreamOutput('stdout', stdoutOffset);
    this.stderr = new StreamOutput('stderr', stderrOffset);
  }

  get heldBytes(): number {
    return this.stdout.heldBytes + this.stderr.heldBytes;
  }

  /** Whether the guest may forget the exit. */
  get exitAcked(): boolean {
    return this.#exitAcked;
  }

  /** A new stream of events: output comes again from what was acknowledged, and so does the exit. */
  restart(): void {
    this.stdout.restart();
    this.stderr.restart();
    this.#exit = undefined;
    this.#exitSent = false;
  }

  takeOutput(name: StreamName, output: Output, nowNs: bigint): void {
    if (this.#exit !== undefined) throw protocolError('output after the exit of its container');
    this[name].take(output, nowNs);
  }

  takeExit(exited: ContainerExited): void {
    if (this.#exit !== undefined) throw protocolError('exit of a container told twice');
    this.stdout.end();
    this.stderr.end();
    this.#exit = exited;
  }

  /** The exit, once all output before it is with huskd; undefined when there is nothing to send. */
  nextExit(): ContainerExited | undefined {
    if (this.#exit === undefined || this.#exitSent || this.#exitAcked) return undefined;
    if (!this.stdout.settled || !this.stderr.settled) return undefined;
    this.#exitSent = true;
    return this.#exit;
  }

  sendAgain(): void {
    this.stdout.sendAgain();
    this.stderr.sendAgain();
    this.#exitSent = false;
  }

  /** True when the guest waits for it. */
  acknowledgeExit(): boolean {
    if (!this.#exitSent && this.#exit !== undefined) {
      throw new HuskError('invalid-argument', `exit of container "${this.id}": acknowledged but never sent`);
    }
    this.#exitAcked = true;
    return this.#exit !== undefined;
  }
}
