/**
 * The CRI log format, made of raw output.
 *
 *     <RFC 3339 time, nanoseconds> <stdout|stderr> <P|F> <content>\n
 *
 * Content is passed on byte for byte. Only this file writes newlines into a log, so no output
 * can look like a second record (kubelet: pkg/kubelet/kuberuntime/logs, format of issue 30709).
 */
import { HuskError } from '../../base/errors.ts';

/** A longer line is cut into partial records of this many bytes of content. */
export const maxLineBytes = 16 * 1024;
const newline = 0x0a;
/** A record of one byte of output: time, stream, tag and newline are less than this. */
const shortestRecordBytes = 64;
const maxRecordBytes = maxLineBytes + shortestRecordBytes;

/** Records to append, and the bytes of the stream that they hold. */
export interface FormattedChunk {
  readonly lines: Buffer;
  readonly startOffset: bigint;
  readonly endOffset: bigint;
}

/** One stream of one container, from an offset on. Output goes in by `push`, records come out by `take`. */
export class CriLogStream {
  readonly #stream: 'stdout' | 'stderr';
  #raw: Buffer[] = [];
  #rawBytes = 0;
  /** When the bytes came: each entry holds for the bytes up to `end`, counted as `#takenEnd` is. */
  #arrivals: { end: bigint; ns: bigint }[] = [];
  #takenEnd: bigint;
  #pushedEnd: bigint;
  #ended = false;
  /** Heads of the records that end before `end`. */
  #heads: { readonly end: bigint; readonly P: Buffer; readonly F: Buffer } | undefined;

  constructor(stream: 'stdout' | 'stderr', offset: bigint) {
    this.#stream = stream;
    this.#takenEnd = offset;
    this.#pushedEnd = offset;
  }

  /** The offset of the next byte to be pushed. */
  get nextOffset(): bigint {
    return this.#pushedEnd;
  }

  /** Bytes that are held and in no record yet. */
  get heldBytes(): number {
    return this.#rawBytes;
  }

  /** Whether no more output can come. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Adds output that came at the time given. Keeps the buffer. */
  push(data: Buffer, arrivedNs: bigint): void {
    if (this.#ended) throw new HuskError('data-loss', `output on ${this.#stream} after its end`);
    if (data.length === 0) return;
    this.#raw.push(data);
    this.#rawBytes += data.length;
    this.#pushedEnd += BigInt(data.length);
    this.#arrivals.push({ end: this.#pushedEnd, ns: arrivedNs });
  }

  /** No more output: what is held becomes the last record although no newline ends it. */
  end(): void {
    this.#ended = true;
  }

  /**
   * The next records, or undefined when no line is whole: whole lines and pieces of 16 KiB, and
   * stops after `softLimit` bytes of records, because short lines grow fortyfold here.
   */
  take(softLimit: number): FormattedChunk | undefined {
    if (this.#rawBytes === 0) return undefined;
    const raw = this.#raw.length === 1 ? (this.#raw[0] as Buffer) : Buffer.concat(this.#raw, this.#rawBytes);
    this.#raw = [raw];
    const startOffset = this.#takenEnd;
    // One buffer, written in place: records are short and many, and this is the gateway's hottest loop.
    const lines = Buffer.allocUnsafe(Math.min(softLimit + maxRecordBytes, raw.length * shortestRecordBytes));
    let bytes = 0;
    let at = 0;
    while (at < raw.length && bytes < softLimit) {
      const piece = nextPiece(raw, at, this.#ended);
      if (piece === undefined) break;
      bytes += this.#head(startOffset + BigInt(piece.next - 1), piece.tag).copy(lines, bytes);
      bytes += raw.copy(lines, bytes, at, piece.contentEnd);
      lines[bytes] = newline;
      bytes += 1;
      at = piece.next;
    }
    if (at === 0) return undefined;
    this.#forget(raw, at);
    // It is kept until huskd has it: not with a buffer that is mostly empty.
    const kept = 2 * bytes < lines.length ? Buffer.from(lines.subarray(0, bytes)) : lines.subarray(0, bytes);
    return { lines: kept, startOffset, endOffset: this.#takenEnd };
  }

  #forget(raw: Buffer, taken: number): void {
    this.#takenEnd += BigInt(taken);
    this.#rawBytes = raw.length - taken;
    // A copy: a small rest must not keep the large buffer that it came in.
    this.#raw = this.#rawBytes === 0 ? [] : [Buffer.from(raw.subarray(taken))];
    this.#arrivals = this.#arrivals.filter(({ end }) => end > this.#takenEnd);
  }

  /** The head of the record whose last byte is at the offset. What came together has one time, so heads are kept. */
  #head(lastByte: bigint, tag: 'P' | 'F'): Buffer {
    if (this.#heads === undefined || lastByte >= this.#heads.end) {
      const { end, ns } = this.#arrivals.find((arrival) => arrival.end > lastByte) ?? { end: lastByte + 1n, ns: 0n };
      const start = `${formatTimestamp(ns)} ${this.#stream}`;
      this.#heads = { end, P: Buffer.from(`${start} P `, 'latin1'), F: Buffer.from(`${start} F `, 'latin1') };
    }
    return this.#heads[tag];
  }
}

interface Piece {
  readonly tag: 'P' | 'F';
  readonly contentEnd: number;
  /** Where the next piece starts. */
  readonly next: number;
}

/**
 * The piece of `raw` that starts at `at`; undefined when its end is not known yet. A piece is partial
 * only when a byte follows it that is no newline: a line always ends with a full record.
 */
function nextPiece(raw: Buffer, at: number, ended: boolean): Piece | undefined {
  const found = raw.subarray(at, at + maxLineBytes + 1).indexOf(newline);
  if (found >= 0) return { tag: 'F', contentEnd: at + found, next: at + found + 1 };
  if (raw.length - at > maxLineBytes) return { tag: 'P', contentEnd: at + maxLineBytes, next: at + maxLineBytes };
  return ended ? { tag: 'F', contentEnd: raw.length, next: raw.length } : undefined;
}

/** RFC 3339 in UTC with nine digits after the second. */
export function formatTimestamp(ns: bigint): string {
  const seconds = ns / 1_000_000_000n;
  const rest = (ns % 1_000_000_000n).toString().padStart(9, '0');
  return `${new Date(Number(seconds) * 1_000).toISOString().slice(0, 19)}.${rest}Z`;
}
