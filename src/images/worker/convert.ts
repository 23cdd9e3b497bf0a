import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, statfsSync } from 'node:fs';
import { open, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { HuskError } from '../../base/errors.ts';
import { malformed } from '../json.ts';
import type { ImageLimits } from '../limits.ts';
import type { Compression } from '../manifest.ts';
import { type TransformResult, transformLayer } from '../tar/transform.ts';
import type { ResolvedLayer, SquashfsFormat } from './protocol.ts';

const chunkBytes = 256 * 1024;

/** A conversion: from the downloaded blob to a squashfs file. */
export interface Conversion {
  readonly blob: string;
  readonly output: string;
  readonly layer: ResolvedLayer;
  readonly limits: ImageLimits;
  readonly squashfs: SquashfsFormat;
}

/**
 * Converts a layer and verifies its diff id. The output exists only when this returns.
 *
 * @throws HuskError `data-loss` for a wrong diff id, `invalid-argument` for bytes that are no layer,
 *   `resource-exhausted` for a layer beyond the limits or a full disk
 */
export async function convertLayer(
  work: Conversion,
  signal: AbortSignal,
): Promise<{ bytes: number; droppedDevices: number }> {
  try {
    let result = await pass(work, new Set(), signal);
    // An entry that a later one replaces was already handed on: only now is it known which.
    if (result.replaced.size > 0) result = await pass(work, result.replaced, signal);
    if (result.replaced.size > 0) throw malformed('tar', 'found entries that replace one another');
    return { bytes: (await stat(work.output)).size, droppedDevices: result.droppedDevices };
  } catch (caught) {
    await rm(work.output, { force: true });
    throw caught;
  }
}

async function pass(work: Conversion, skip: ReadonlySet<number>, signal: AbortSignal): Promise<TransformResult> {
  await using output = await open(work.output, 'w', 0o600);
  const maker = new SquashfsMaker(work, output.fd, signal);
  const hash = createHash('sha256');
  const stream = unpack(work, hash, signal);
  try {
    const result = await Promise.race([
      maker.failed,
      transformLayer(stream, (chunk) => maker.write(chunk), work.limits, skip),
    ]);
    const found = `sha256:${hash.digest('hex')}`;
    if (found !== work.layer.diffId) {
      throw new HuskError('data-loss', `verify layer "${work.layer.diffId}": its bytes give ${found}`, {
        stage: 'verify',
      });
    }
    if (result.replaced.size === 0) await maker.finish();
    return result;
  } finally {
    // A transform that is still running sees the end of its stream; nobody waits for it any more.
    void stream.return();
    await maker.close();
  }
}

/** The tar stream of a blob, counted and hashed. */
async function* unpack(
  work: Conversion,
  hash: ReturnType<typeof createHash>,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const { limits, layer } = work;
  const stream = openUnpacked(work.blob, layer.compression);
  let bytes = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      signal.throwIfAborted();
      bytes += chunk.length;
      if (bytes > limits.unpackedLayerBytes) throw tooLarge(`${limits.unpackedLayerBytes} bytes`);
      if (bytes > limits.ratioFloorBytes && bytes > layer.size * limits.ratio) {
        throw tooLarge(`${limits.ratio} times its compressed size`);
      }
      hash.update(chunk);
      yield chunk;
    }
  } catch (caught) {
    if (caught instanceof HuskError || signal.aborted) throw caught;
    throw malformed('layer', `not valid ${layer.compression} data`, caught);
  } finally {
    stream.destroy();
  }
}

function openUnpacked(path: string, compression: Compression): Readable {
  const file = createReadStream(path, { highWaterMark: chunkBytes });
  if (compression === 'none') return file;
  const unpacker =
    compression === 'gzip' ? createGunzip({ chunkSize: chunkBytes }) : createZstdDecompress({ chunkSize: chunkBytes });
  file.on('error', (error) => unpacker.destroy(error));
  unpacker.on('close', () => file.destroy());
  return file.pipe(unpacker);
}

/** A running tar2sqfs. */
class SquashfsMaker {
  readonly #child: ChildProcess;
  readonly #exit: Promise<unknown>;
  readonly #folder: string;
  #stderr = '';
  #done = false;
  /** Rejects when the program ends before it may. */
  readonly failed: Promise<never>;

  /** @param output descriptor of the output; by a name the program would delete a file that it cannot finish */
  constructor(work: Conversion, output: number, signal: AbortSignal) {
    const { compressor, blockBytes } = work.squashfs;
    const args = ['-q', '-s', '-f', '-c', compressor, '-b', String(blockBytes), '-j', '2', '/proc/self/fd/3'];
    this.#folder = dirname(work.output);
    this.#child = spawn('tar2sqfs', args, { stdio: ['pipe', 'ignore', 'pipe', output], signal, killSignal: 'SIGKILL' });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-2000);
    });
    // The program's own end tells more than the broken pipe does.
    this.#child.stdin?.on('error', () => undefined);
    const { promise: exit, resolve } = Promise.withResolvers<unknown>();
    const { promise: failed, reject } = Promise.withResolvers<never>();
    this.#child.on('error', (error) => {
      reject(
        signal.aborted
          ? signal.reason
          : new HuskError('internal', 'run "tar2sqfs": cannot be started', { cause: error }),
      );
    });
    this.#child.on('close', (code, killed) => {
      resolve(undefined);
      if (code !== 0 || !this.#done) reject(this.#error(code, killed));
    });
    failed.catch(() => undefined);
    this.#exit = exit;
    this.failed = failed;
  }

  write(chunk: Buffer): Promise<void> | undefined {
    const stdin = this.#child.stdin;
    if (stdin === null || stdin.destroyed || stdin.write(chunk)) return undefined;
    // A broken pipe means that the program is ending; its own words about it are worth waiting for.
    const drained = once(stdin, 'drain').then(
      () => undefined,
      () => this.failed,
    );
    return Promise.race([this.failed, drained]);
  }

  async finish(): Promise<void> {
    this.#done = true;
    this.#child.stdin?.end();
    await Promise.race([this.failed, this.#exit]);
  }

  async close(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null && this.#child.pid !== undefined) {
      this.#child.kill('SIGKILL');
      await this.#exit;
    }
  }

  #error(code: number | null, killed: string | null): HuskError {
    const told = this.#stderr.trim().replaceAll(/\s+/g, ' ').slice(-400);
    // SIGXFSZ: the worker's RLIMIT_FSIZE. tar2sqfs calls a full disk an "I/O error", so look at the disk.
    if (killed === 'SIGXFSZ' || (/I\/O error|No space/.test(told) && isFull(this.#folder))) {
      return new HuskError('resource-exhausted', 'write layer: the disk of the image store is full', {
        stage: 'convert-layer',
        hint: 'remove images, or give the image store more room',
      });
    }
    return new HuskError('internal', `run "tar2sqfs": ${killed ?? `exit code ${code}`}: ${told}`, {
      stage: 'convert-layer',
    });
  }
}

function isFull(folder: string): boolean {
  // The unfinished output is still there and takes its room.
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize < 4 * chunkBytes;
}

function tooLarge(what: string): HuskError {
  return new HuskError('resource-exhausted', `convert layer: it unpacks to more than ${what}`, {
    stage: 'convert-layer',
  });
}
