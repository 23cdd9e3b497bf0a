/**
 * The language of husk-sys (guest-agent/c/sys/main.c): batches of system calls and their answers.
 * The program's head comment is its definition.
 */
import { HuskError } from '../base/errors.ts';

/** Number of arguments by operation; the same table is in main.c. */
const arities = {
  entropy: 1,
  random: 1,
  clock: 1,
  hostname: 1,
  write: 3,
  mkdir: 2,
  chown: 3,
  mkfifo: 1,
  chdir: 1,
  mount: 5,
  umount: 1,
  part: 4,
  unpart: 2,
  growfs: 2,
  read: 3,
  procfile: 3,
  bindinto: 4,
  mkpoint: 3,
  takeroot: 3,
  sealroot: 1,
  ifname: 2,
  ifmac: 2,
  ifmtu: 2,
  ifup: 1,
  addr: 2,
  route: 3,
  bindat: 4,
} as const;

export type SysOpName = keyof typeof arities;

export interface SysOp {
  readonly name: SysOpName;
  readonly args: readonly string[];
  /** The batch goes on when this fails. */
  readonly mayFail: boolean;
}

/** What one operation gave: the bytes it read, or why it failed. */
export interface SysResult {
  readonly ok: boolean;
  readonly bytes: Buffer;
}

/** The most that one batch or one answer may hold; the program has the same cap. */
export const maxBatchBytes = 8 * 1024 * 1024;

/** An operation that ends the batch when it fails. */
export function op(name: SysOpName, ...args: readonly string[]): SysOp {
  return { name, args, mayFail: false };
}

/** An operation that may fail: used to take things back, where every step must run. */
export function tryOp(name: SysOpName, ...args: readonly string[]): SysOp {
  return { name, args, mayFail: true };
}

/**
 * Encodes a batch with its length in front.
 *
 * @throws HuskError `invalid-argument` for a NUL inside an argument, `resource-exhausted` beyond the cap
 */
export function encodeBatch(ops: readonly SysOp[]): Buffer {
  const fields: string[] = [];
  for (const { name, args, mayFail } of ops) {
    if (args.length !== arities[name]) {
      throw new HuskError('internal', `husk-sys "${name}": ${args.length} arguments instead of ${arities[name]}`);
    }
    const nul = args.find((arg) => arg.includes('\0'));
    if (nul !== undefined) {
      throw new HuskError('invalid-argument', `husk-sys "${name}" ${JSON.stringify(nul)}: holds a NUL character`);
    }
    fields.push(mayFail ? `-${name}` : name, ...args);
  }
  const body = Buffer.from(fields.length === 0 ? '' : `${fields.join('\0')}\0`);
  if (body.length > maxBatchBytes) {
    throw new HuskError('resource-exhausted', `husk-sys batch: ${body.length} bytes, at most ${maxBatchBytes}`);
  }
  const head = Buffer.alloc(4);
  head.writeUInt32LE(body.length);
  return Buffer.concat([head, body]);
}

/**
 * Decodes the body of an answer.
 *
 * @throws HuskError `data-loss` when the bytes are no answer
 */
export function decodeAnswer(body: Buffer): SysResult[] {
  const results: SysResult[] = [];
  for (let at = 0; at < body.length; ) {
    const status = body[at];
    const length = body.length - at >= 5 ? body.readUInt32LE(at + 1) : -1;
    const end = at + 5 + length;
    if (length < 0 || end > body.length || (status !== 0x6b && status !== 0x65)) {
      throw new HuskError('data-loss', `husk-sys answer: byte ${at} of ${body.length} begins no result`);
    }
    results.push({ ok: status === 0x6b, bytes: body.subarray(at + 5, end) });
    at = end;
  }
  return results;
}

/**
 * The results of a batch that ran to its end.
 *
 * @throws HuskError `internal` with the operation that failed
 */
export function requireDone(ops: readonly SysOp[], results: readonly SysResult[]): readonly SysResult[] {
  const last = results.at(-1);
  const failed = last !== undefined && !last.ok && ops[results.length - 1]?.mayFail !== true;
  if (failed) throw new HuskError('internal', `system call ${last.bytes.toString()}`);
  if (results.length !== ops.length) {
    throw new HuskError('data-loss', `husk-sys answer: ${results.length} results for ${ops.length} operations`);
  }
  return results;
}
