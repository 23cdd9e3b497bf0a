/** The typed wrapper of `memfd.c`: template memory that outlives the daemon and cannot be written. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import { withDeadline } from '../base/deadline.ts';
import { HuskError } from '../base/errors.ts';
import { isAlive, kill, type ProcessIdentity, readIdentity } from './process.ts';

const holdTimeoutMs = 10_000;

/** Two memfds: guest memory and device state. The holder process keeps them alive, and so do the handles. */
export interface HeldMemory extends AsyncDisposable {
  readonly holder: ProcessIdentity;
  readonly memory: FileHandle;
  readonly state: FileHandle;
}

/** Starts a holder with writable memfds. */
export async function holdMemory(memfd: string, bytes: number, signal?: AbortSignal): Promise<HeldMemory> {
  const child = spawn(memfd, ['hold', String(bytes)], { detached: true, stdio: ['ignore', 'pipe', 'ignore'], env: {} });
  const failed = once(child, 'error').then(([error]) => {
    throw new HuskError('internal', `run "${memfd}": ${String(error)}`, { cause: error });
  });
  const ready = async (): Promise<string> => {
    let text = '';
    for await (const chunk of child.stdout) text += String(chunk);
    return text;
  };
  const said = await withDeadline('template memory', holdTimeoutMs, signal, () => Promise.race([failed, ready()]));
  const holder = child.pid === undefined ? undefined : readIdentity(child.pid);
  if (said !== 'ready\n' || holder === undefined) {
    child.kill('SIGKILL');
    throw new HuskError('resource-exhausted', `hold ${bytes} bytes of template memory: the holder ended`);
  }
  child.unref();
  return openHeld(holder, 'r+');
}

/** Opens the memfds of a running holder. @throws HuskError `not-found` when it is gone */
export async function openHeld(holder: ProcessIdentity, flags: 'r' | 'r+'): Promise<HeldMemory> {
  if (!isAlive(holder)) throw new HuskError('not-found', `template memory of process ${holder.pid}: it has ended`);
  const memory = await open(`/proc/${holder.pid}/fd/3`, flags);
  const state = await open(`/proc/${holder.pid}/fd/4`, flags);
  return {
    holder,
    memory,
    state,
    async [Symbol.asyncDispose]() {
      await memory.close();
      await state.close();
    },
  };
}

/** Ends a holder: the memory is freed when the last clone ends. */
export function releaseHolder(holder: ProcessIdentity): void {
  kill(holder);
}

/** Makes both memfds immutable for good. @throws HuskError when a writable mapping still exists */
export async function sealMemory(memfd: string, held: HeldMemory): Promise<void> {
  await runWithFds(memfd, 'seal', [held.memory.fd, held.state.fd]);
}

/** Copies a file's data, holes as holes. */
export async function copySparse(memfd: string, from: FileHandle, to: FileHandle): Promise<void> {
  await runWithFds(memfd, 'copy', [from.fd, to.fd]);
}

async function runWithFds(memfd: string, mode: string, fds: readonly number[]): Promise<void> {
  const child = spawn(memfd, [mode], { stdio: ['ignore', 'ignore', 'pipe', ...fds], env: {} });
  const closed = once(child, 'close') as Promise<[number | null]>;
  let told = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    if (told.length < 1000) told += chunk.toString();
  });
  const [code] = await closed;
  if (code !== 0)
    throw new HuskError('internal', `${mode} template memory: ${told.trim() || `exit code ${code ?? 'none'}`}`);
}
