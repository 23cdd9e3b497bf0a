/** What `runc start` does, without the Go program: reads the FIFO behind which a created container waits. */
import { closeSync, constants, openSync } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import { withDeadline } from '../../src/base/deadline.ts';
import { HuskError } from '../../src/base/errors.ts';

/** The container's first process waits already: it goes on at once, or never. */
const startMs = 30_000;
const releaseMs = 20;

/**
 * Lets the container's first process run its program. runC counts a container as created as
 * long as its FIFO is there (libcontainer/container_linux.go, `Start` and `handleFifoResult`).
 *
 * @param ended resolves when the container's first process has ended
 * @throws HuskError `failed-precondition` when it has ended or was started before
 */
export async function openExecFifo(path: string, ended: Promise<void>): Promise<void> {
  const over = new AbortController();
  void ended.then(() => over.abort());
  const reading = read(path);
  try {
    await withDeadline('start of a container', startMs, over.signal, () => reading);
  } catch (caught) {
    // An open without a writer waits in one of the few threads: a writer of ours, for a moment, frees it.
    const timer = setInterval(() => release(path), releaseMs);
    const started = await reading.then(
      () => true,
      () => false,
    );
    clearInterval(timer);
    if (!started && over.signal.aborted) throw gone();
    if (!started) throw caught;
  }
  await unlink(path);
}

async function read(path: string): Promise<void> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, constants.O_RDONLY);
  } catch (cause) {
    throw new HuskError('failed-precondition', 'start the container: cannot start an already running container', {
      cause,
    });
  }
  try {
    const { bytesRead } = await file.read(Buffer.alloc(1), 0, 1);
    if (bytesRead === 0) throw gone();
  } finally {
    await file.close();
  }
}

function gone(): HuskError {
  return new HuskError('failed-precondition', 'start the container: its process has ended');
}

function release(path: string): void {
  try {
    closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
  } catch {
    // Nobody waits there.
  }
}
