import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { sleep } from '../../base/deadline.ts';
import { HuskError, isErrno } from '../../base/errors.ts';
import type { ImageLimits } from '../limits.ts';
import type { LayerDescriptor } from '../manifest.ts';
import type { Answer } from './http.ts';
import { combine, isWorthRetrying, type RegistryClient, retryDelayMs, wrongDigest } from './registry.ts';

/** Told how many bytes of the blob are there. */
export type OnProgress = (bytes: number) => void;

/** A download on its way. */
interface Transfer {
  readonly file: FileHandle;
  readonly layer: LayerDescriptor;
  readonly onProgress: OnProgress;
  hash: Hash;
  bytes: number;
}

/**
 * Downloads a blob into a new file and verifies size and digest on the way. After a drop it goes
 * on where it stopped; when a host has nothing to give, the next one goes on.
 *
 * @throws HuskError `unavailable`, `not-found`, `permission-denied`, `data-loss`, `resource-exhausted`
 */
export async function downloadBlob(
  registry: RegistryClient,
  target: { readonly path: string; readonly layer: LayerDescriptor; readonly onProgress: OnProgress },
  limits: ImageLimits,
  signal: AbortSignal,
): Promise<void> {
  await using file = await open(target.path, 'wx', 0o600);
  const { layer, onProgress } = target;
  const transfer: Transfer = { file, layer, onProgress, hash: createHash('sha256'), bytes: 0 };
  const failures: HuskError[] = [];
  for (const endpoint of registry.pullEndpoints()) {
    for (let fruitless = 0, attempt = 1; attempt <= limits.attempts * 4; attempt += 1) {
      const before = transfer.bytes;
      try {
        const answer = await registry.openBlob(endpoint, layer.digest, transfer.bytes, signal);
        await receive(transfer, answer);
        const found = `sha256:${transfer.hash.digest('hex')}`;
        if (found === layer.digest) return;
        await restart(transfer);
        throw wrongDigest('layer', layer.digest, found);
      } catch (caught) {
        const error = signal.aborted ? HuskError.from(signal.reason) : ioError(caught);
        if (signal.aborted || error.kind === 'resource-exhausted') throw error;
        fruitless = transfer.bytes > before ? 0 : fruitless + 1;
        if (!isWorthRetrying(error) || fruitless >= limits.attempts || attempt === limits.attempts * 4) {
          failures.push(error);
          break;
        }
        await sleep(retryDelayMs(fruitless + 1, error), signal);
      }
    }
  }
  throw combine(failures);
}

async function receive(transfer: Transfer, answer: Answer): Promise<void> {
  try {
    const start = startOf(answer);
    if (start !== transfer.bytes) {
      // A host that cannot resume sends everything again.
      if (start !== 0)
        throw new HuskError('unavailable', `resume layer: found offset ${start}`, { stage: 'pull-layer' });
      await restart(transfer);
    }
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      if (transfer.bytes + chunk.length > transfer.layer.size) {
        await restart(transfer);
        throw new HuskError(
          'data-loss',
          `verify layer "${transfer.layer.digest}": longer than ${transfer.layer.size} bytes`,
          {
            stage: 'verify',
          },
        );
      }
      await transfer.file.write(chunk, 0, chunk.length, transfer.bytes);
      transfer.hash.update(chunk);
      transfer.bytes += chunk.length;
      transfer.onProgress(transfer.bytes);
    }
  } finally {
    answer.body.destroy();
  }
  if (transfer.bytes < transfer.layer.size) {
    throw new HuskError('unavailable', `pull layer: ends at byte ${transfer.bytes} of ${transfer.layer.size}`, {
      stage: 'pull-layer',
    });
  }
}

function startOf(answer: Answer): number {
  if (answer.status !== 206) return 0;
  const start = /^bytes (\d{1,15})-/.exec(answer.headers['content-range'] ?? '')?.[1];
  return start === undefined ? -1 : Number(start);
}

async function restart(transfer: Transfer): Promise<void> {
  await transfer.file.truncate(0);
  transfer.hash = createHash('sha256');
  transfer.bytes = 0;
}

/** Turns what Node throws into one of our kinds. */
export function ioError(caught: unknown): HuskError {
  if (caught instanceof HuskError) return caught;
  if (['ENOSPC', 'EDQUOT', 'EFBIG'].some((code) => isErrno(caught, code))) {
    return new HuskError('resource-exhausted', 'write layer: the disk of the image store is full', {
      cause: caught,
      stage: 'pull-layer',
      hint: 'remove images, or give the image store more room',
    });
  }
  const isNetwork = caught instanceof Error && 'code' in caught && /^(E[A-Z]+|HPE_|ERR_)/.test(String(caught.code));
  return new HuskError(isNetwork ? 'unavailable' : 'internal', 'pull layer: the connection broke', {
    cause: caught,
    stage: 'pull-layer',
  });
}
