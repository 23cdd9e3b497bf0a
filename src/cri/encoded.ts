/**
 * Answers put together from bytes that were made before: a kubelet lists all pods and containers each second, and hardly any of
 * them has changed. Records never change, a change makes a new one, so what was made of a record is good as long as it is there.
 */
import { BinaryWriter } from '@bufbuild/protobuf/wire';

/** An answer in its bytes, for a handler to return in place of the message. */
export class Encoded<Message> {
  readonly bytes: Buffer;
  /** What it is of: nothing else may be sent with it. */
  declare readonly message: Message;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
}

export interface EntryWish<Of> {
  readonly encode: (record: Of) => Uint8Array;
  /** False for a record whose entry depends on other things too; all by default do not. */
  readonly isLasting?: (record: Of) => boolean;
}

/** The entries of a message whose only field is `repeated` and has number 1 (protobuf: tag, length, bytes). */
export class EncodedEntries<Of extends object> {
  readonly #known = new WeakMap<Of, Uint8Array>();

  /** The message with an entry for each record. */
  of<Message>(records: readonly Of[], wish: EntryWish<Of>): Encoded<Message> {
    return new Encoded(Buffer.concat(records.map((record) => this.#known.get(record) ?? this.#make(record, wish))));
  }

  #make(record: Of, { encode, isLasting }: EntryWish<Of>): Uint8Array {
    const entry = new BinaryWriter().uint32(firstField).bytes(encode(record)).finish();
    if (isLasting === undefined || isLasting(record)) this.#known.set(record, entry);
    return entry;
  }
}

/** Field 1, length-delimited. */
const firstField = (1 << 3) | 2;
