/** Fields of binary messages, little endian: their width is part of them. */
export type Field = Buffer;

export const u16 = (value: number): Field => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
};
export const u32 = (value: number): Field => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};
export const u64 = (value: number | bigint): Field => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
/** A text with the NUL that ends it. */
export const text = (value: string | Buffer): Field => Buffer.concat([Buffer.from(value), Buffer.alloc(1)]);
