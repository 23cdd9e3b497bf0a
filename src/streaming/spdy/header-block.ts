/**
 * Compressed header blocks (SPDY draft 3.1, section 2.6.10): one zlib stream per direction for the
 * whole connection, so blocks must be read and written in frame order.
 */
import { constants, createDeflate, createInflate, type Deflate, type Inflate } from 'node:zlib';
import { spdyDictionary } from './dictionary.ts';
import { protocolError } from './frames.ts';

/** Caps against headers that cost much more than their frame (CVE-2026-35469). */
const maxHeaders = 100;
const maxInflatedBytes = 64 * 1024;
/** A window that the dictionary just fits into: zlib's default costs 256 KiB for each connection. */
const smallDeflate = { windowBits: 11, memLevel: 1, chunkSize: 1024 } as const;

export type Headers = ReadonlyMap<string, string>;

/** Reads the blocks of one direction. */
export class HeaderReader {
  readonly #inflate: Inflate;
  #output: Buffer[] = [];
  #bytes = 0;
  #failed: Error | undefined;

  constructor() {
    this.#inflate = createInflate({
      dictionary: spdyDictionary,
      finishFlush: constants.Z_SYNC_FLUSH,
      chunkSize: 1024,
    });
    this.#inflate.on('data', (chunk: Buffer) => {
      this.#bytes += chunk.length;
      if (this.#bytes > maxInflatedBytes) this.#fail(protocolError(`headers of more than ${maxInflatedBytes} bytes`));
      else this.#output.push(chunk);
    });
    this.#inflate.on('error', (cause) => this.#fail(protocolError(`header block: ${cause.message}`)));
  }

  /**
   * Reads the next block. Calls must not overlap.
   * @throws HuskError `invalid-argument` for what is not a header block, or too large a one; then for ever
   */
  async read(block: Buffer): Promise<Headers> {
    this.#output = [];
    this.#bytes = 0;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#inflate.once('close', resolve);
    if (this.#failed === undefined) this.#inflate.write(block, () => resolve());
    else resolve();
    await promise;
    this.#inflate.removeListener('close', resolve);
    if (this.#failed !== undefined) throw this.#failed;
    return parseHeaders(Buffer.concat(this.#output));
  }

  close(): void {
    this.#inflate.destroy();
  }

  #fail(error: Error): void {
    this.#failed ??= error;
    this.#inflate.destroy();
  }
}

/** Writes the blocks of one direction. */
export class HeaderWriter {
  readonly #deflate: Deflate;
  #output: Buffer[] = [];

  constructor() {
    this.#deflate = createDeflate({ dictionary: spdyDictionary, ...smallDeflate });
    this.#deflate.on('data', (chunk: Buffer) => this.#output.push(chunk));
  }

  /** The next block. Calls must not overlap. */
  async write(headers: Headers): Promise<Buffer> {
    this.#output = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#deflate.once('close', resolve);
    this.#deflate.write(serializeHeaders(headers));
    this.#deflate.flush(constants.Z_SYNC_FLUSH, () => resolve());
    await promise;
    this.#deflate.removeListener('close', resolve);
    return Buffer.concat(this.#output);
  }

  close(): void {
    this.#deflate.destroy();
  }
}

/** The uncompressed form: a count, then names and values behind their lengths. Names are lower case. */
export function serializeHeaders(headers: Headers): Buffer {
  const parts: Buffer[] = [word(headers.size)];
  for (const [name, value] of headers) {
    const nameBytes = Buffer.from(name.toLowerCase(), 'latin1');
    const valueBytes = Buffer.from(value, 'latin1');
    parts.push(word(nameBytes.length), nameBytes, word(valueBytes.length), valueBytes);
  }
  return Buffer.concat(parts);
}

/** @throws HuskError `invalid-argument` when a length leads outside, or a name comes twice */
export function parseHeaders(bytes: Buffer): Headers {
  let at = 0;
  const number = (): number => {
    if (at + 4 > bytes.length) throw protocolError('header block ends within a length');
    at += 4;
    return bytes.readUInt32BE(at - 4);
  };
  const string = (): string => {
    const length = number();
    if (length > bytes.length - at) throw protocolError(`header of ${length} bytes in a block of ${bytes.length}`);
    at += length;
    return bytes.toString('latin1', at - length, at);
  };
  const count = number();
  if (count > maxHeaders) throw protocolError(`${count} headers, at most ${maxHeaders}`);
  const headers = new Map<string, string>();
  for (let index = 0; index < count; index += 1) {
    const name = string().toLowerCase();
    if (name === '' || headers.has(name)) throw protocolError('a header name is empty or comes twice');
    headers.set(name, string());
  }
  if (at !== bytes.length) throw protocolError(`${bytes.length - at} bytes after the last header`);
  return headers;
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
