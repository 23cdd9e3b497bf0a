/**
 * Header compression of HTTP/2 (RFC 7541), as far as a gRPC server wants it: every header is decoded, because
 * the table that both sides keep depends on all of them; nothing is compressed on the way back.
 */
import { HuskError } from '../../../src/base/errors.ts';

/** Appendix A: the static table; entry n stands at n - 1. */
const staticTable: readonly (readonly [name: string, value: string])[] = [
  ':authority',
  ':method=GET',
  ':method=POST',
  ':path=/',
  ':path=/index.html',
  ':scheme=http',
  ':scheme=https',
  ...[200, 204, 206, 304, 400, 404, 500].map((code) => `:status=${code}`),
  'accept-charset',
  'accept-encoding=gzip, deflate',
  ...'accept-language accept-ranges accept access-control-allow-origin age allow authorization'.split(' '),
  ...'cache-control content-disposition content-encoding content-language content-length'.split(' '),
  ...'content-location content-range content-type cookie date etag expect expires from host'.split(' '),
  ...'if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link'.split(' '),
  ...'location max-forwards proxy-authenticate proxy-authorization range referer refresh'.split(' '),
  ...'retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary via'.split(' '),
  'www-authenticate',
].map((entry) => {
  const at = entry.indexOf('=');
  return at < 0 ? [entry, ''] : [entry.slice(0, at), entry.slice(at + 1)];
});

/** What both sides start with, and what is never asked to be changed (RFC 9113, 6.5.2). */
const tableBytes = 4096;
/** Section 4.1: what an entry counts beside its name and value. */
const entryOverhead = 32;

/**
 * Appendix B: the symbols of each code length, in order. The code is canonical, so that this is all of it. Longer
 * codes are of characters that no header of a gRPC client has.
 */
const symbolsByLength: ReadonlyMap<number, string> = new Map([
  [5, '012aceiost'],
  [6, ' %-./3456789=A_bdfghlmnpru'],
  [7, ':BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz'],
  [8, '&*,;XZ'],
  [10, '!"()?'],
  [11, "'+|"],
  [12, '#>'],
  [13, '\0$@[]~'],
  [14, '^}'],
  [15, '<`{'],
  [19, '\\\u00c3\u00d0'],
]);
const longestCode = 19;

/** First code and symbols of each length. */
const codes: readonly (readonly [length: number, first: number, symbols: string])[] = (() => {
  const list: [number, number, string][] = [];
  let next = 0;
  for (let length = 5; length <= longestCode; length += 1) {
    const symbols = symbolsByLength.get(length);
    if (symbols !== undefined) list.push([length, next, symbols]);
    next = (next + (symbols?.length ?? 0)) << 1;
  }
  return list;
})();

/** Decodes Huffman's code. @throws HuskError `data-loss` for a code that is none of ours */
export function decodeHuffman(bytes: Uint8Array): string {
  let text = '';
  let bits = 0;
  let count = 0;
  for (const byte of bytes) {
    bits = (bits << 8) | byte;
    count += 8;
    for (;;) {
      const symbol = symbolAt(bits, count);
      if (symbol === undefined) break;
      text += symbol[0];
      count -= symbol[1];
      bits &= (1 << count) - 1;
    }
    if (count > longestCode) throw badHeaders('a code that is longer than any of ASCII');
  }
  // What is left is padding: the first bits of the code for the end, all ones.
  if (count > 7 || bits !== (1 << count) - 1) throw badHeaders('a string that ends within a code');
  return text;
}

function symbolAt(bits: number, count: number): readonly [symbol: string, length: number] | undefined {
  for (const [length, first, symbols] of codes) {
    if (length > count) return undefined;
    const index = (bits >>> (count - length)) - first;
    if (index < symbols.length) return [symbols[index] as string, length];
  }
  return undefined;
}

/** The decoder of one connection. */
export class HeaderDecoder {
  readonly #table: (readonly [name: string, value: string])[] = [];
  #bytes = 0;
  #capacity = tableBytes;
  #block: Uint8Array = new Uint8Array();
  #at = 0;

  /**
   * Decodes a whole header block. Of a header that comes twice the last one counts.
   * @throws HuskError `data-loss`
   */
  decode(block: Uint8Array): Map<string, string> {
    this.#block = block;
    this.#at = 0;
    const headers = new Map<string, string>();
    while (this.#at < block.length) {
      const first = block[this.#at] as number;
      if ((first & 0x80) !== 0) {
        const [name, value] = this.#entry(this.#integer(7));
        headers.set(name, value);
      } else if ((first & 0xe0) === 0x20) {
        this.#resize(this.#integer(5));
      } else {
        const indexed = (first & 0xc0) === 0x40;
        const index = this.#integer(indexed ? 6 : 4);
        const name = index === 0 ? this.#string() : this.#entry(index)[0];
        const value = this.#string();
        if (indexed) this.#add(name, value);
        headers.set(name, value);
      }
    }
    return headers;
  }

  #entry(index: number): readonly [name: string, value: string] {
    const entry = staticTable[index - 1] ?? this.#table[index - 1 - staticTable.length];
    if (entry === undefined) throw badHeaders(`index ${index}, which no table has`);
    return entry;
  }

  #add(name: string, value: string): void {
    this.#table.unshift([name, value]);
    this.#bytes += name.length + value.length + entryOverhead;
    this.#evict();
  }

  #resize(bytes: number): void {
    if (bytes > tableBytes) throw badHeaders(`a table of ${bytes} bytes: at most ${tableBytes} were offered`);
    this.#capacity = bytes;
    this.#evict();
  }

  #evict(): void {
    while (this.#bytes > this.#capacity) {
      const [name, value] = this.#table.pop() as readonly [string, string];
      this.#bytes -= name.length + value.length + entryOverhead;
    }
  }

  #byte(): number {
    const byte = this.#block[this.#at];
    if (byte === undefined) throw badHeaders('a block that ends too early');
    this.#at += 1;
    return byte;
  }

  /** Section 5.1: an integer that begins in the low bits of the current byte. */
  #integer(prefixBits: number): number {
    const most = (1 << prefixBits) - 1;
    let value = this.#byte() & most;
    if (value < most) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.#byte();
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw badHeaders('an integer beyond any reason');
  }

  #string(): string {
    const compressed = ((this.#block[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#integer(7);
    const bytes = this.#block.subarray(this.#at, this.#at + length);
    if (bytes.length < length) throw badHeaders('a string that is cut off');
    this.#at += length;
    return compressed ? decodeHuffman(bytes) : Buffer.from(bytes).toString('latin1');
  }
}

/** Encodes headers: each as it is, names in lower case; for what is sent in one piece and kept in no table. */
export function encodeHeaders(headers: readonly (readonly [name: string, value: string])[]): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of headers) {
    if (name === ':status' && value === '200') parts.push(Buffer.from([0x88]));
    else parts.push(Buffer.from([0]), encodeString(name), encodeString(value));
  }
  return Buffer.concat(parts);
}

function encodeString(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  const head: number[] = [];
  if (bytes.length < 0x7f) head.push(bytes.length);
  else {
    let rest = bytes.length - 0x7f;
    head.push(0x7f);
    for (; rest >= 0x80; rest >>>= 7) head.push((rest & 0x7f) | 0x80);
    head.push(rest);
  }
  return Buffer.concat([Buffer.from(head), bytes]);
}

function badHeaders(what: string): HuskError {
  return new HuskError('data-loss', `decode HTTP/2 headers: ${what}`);
}
