/**
 * Where a container's log stands, kept so that every line is written exactly once.
 *
 * Before a chunk is appended, the intent is written: the file's inode and size before and
 * after, and the stream offsets before and after. After a crash the file tells which of the
 * two holds. The position file is overwritten in place without fsync: it has to survive the
 * daemon, not the machine, since a pod does not survive the machine either.
 */

export interface StreamOffsets {
  readonly stdout: bigint;
  readonly stderr: bigint;
}

export interface LogIntent {
  readonly inode: bigint;
  readonly sizeBefore: number;
  readonly sizeAfter: number;
  readonly before: StreamOffsets;
  readonly after: StreamOffsets;
}

export const zeroOffsets: StreamOffsets = { stdout: 0n, stderr: 0n };

/** A fixed length, so that overwriting in place leaves nothing of the old text. */
const positionBytes = 256;

/** The intent as text of a fixed length. */
export function encodeIntent(intent: LogIntent): string {
  const fields = [
    intent.inode,
    intent.sizeBefore,
    intent.sizeAfter,
    intent.before.stdout,
    intent.before.stderr,
    intent.after.stdout,
    intent.after.stderr,
  ];
  return `${fields.join(' ').padEnd(positionBytes - 1)}\n`;
}

/** The intent of the text, or undefined when there is none or it is torn. */
export function decodeIntent(text: string): LogIntent | undefined {
  const fields = text.trim().split(' ');
  if (text.length !== positionBytes || fields.length !== 7 || !fields.every((field) => /^\d{1,20}$/.test(field)))
    return undefined;
  const [inode, sizeBefore, sizeAfter, outBefore, errBefore, outAfter, errAfter] = fields.map(BigInt) as [
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  return {
    inode,
    sizeBefore: Number(sizeBefore),
    sizeAfter: Number(sizeAfter),
    before: { stdout: outBefore, stderr: errBefore },
    after: { stdout: outAfter, stderr: errAfter },
  };
}

/**
 * Which offsets hold, given the size of the file that the intent names.
 *
 * @param size of the file with that inode; undefined when it is gone
 * @returns the offsets, and the size to cut a torn append back to
 */
export function resolveIntent(
  intent: LogIntent,
  size: number | undefined,
): { offsets: StreamOffsets; truncateTo?: number } {
  if (size === undefined || size >= intent.sizeAfter) return { offsets: intent.after };
  if (size <= intent.sizeBefore) return { offsets: intent.before };
  return { offsets: intent.before, truncateTo: intent.sizeBefore };
}
