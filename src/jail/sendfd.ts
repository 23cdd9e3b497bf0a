/** The typed wrapper of `sendfd.c`: gives a running QEMU open files. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { HuskError } from '../base/errors.ts';
import { run } from '../base/exec.ts';

const timeoutMs = 15_000;
/** A descriptor set has no reason to have a large number; more is a hostile answer. */
const maxSetNumber = 1_000_000;

/**
 * Opens files read-only, without following a link in the last place, and gives QEMU each in a
 * descriptor set of its own: for QEMU the first file is `/dev/fdset/<firstSet>`, the next one that with the next number.
 *
 * @param firstSet with all numbers after it never used before: QEMU adds to a set that is there
 * @throws HuskError `internal`, `data-loss` when QEMU's answer makes no sense
 */
export async function sendFiles(
  sendfd: string,
  fdSocket: string,
  files: { readonly firstSet: number; readonly paths: readonly string[] },
  signal?: AbortSignal,
): Promise<void> {
  const { firstSet, paths } = files;
  const args = [fdSocket, 'add-fd', String(firstSet), ...paths];
  const output = await run(sendfd, args, { timeoutMs, signal, stage: 'send-files' });
  const sets = output.trim().split('\n').map(setNumber);
  if (sets.length !== paths.length || sets.some((set, index) => set !== firstSet + index)) {
    throw new HuskError(
      'data-loss',
      `send ${paths.length} files to QEMU as sets from ${firstSet}: it answered with ${sets.length} sets from ${sets[0]}`,
    );
  }
}

/**
 * Opens a block device, for writing where asked, and gives it to QEMU.
 * @returns the number of its descriptor set, which QEMU chooses: for it the device is `/dev/fdset/<number>`
 * @throws HuskError `internal`, `data-loss` when QEMU's answer makes no sense
 */
export async function sendDisk(
  sendfd: string,
  fdSocket: string,
  { path, readonly }: { readonly path: string; readonly readonly: boolean },
  signal?: AbortSignal,
): Promise<number> {
  const access = readonly ? 'ro' : 'rw';
  const output = await run(sendfd, [fdSocket, 'add-disk', access, path], { timeoutMs, signal, stage: 'send-disk' });
  return setNumber(output.trim());
}

function setNumber(line: string): number {
  const match = /"fdset-id": ?(\d{1,7})\b/.exec(line);
  const set = match === null ? Number.NaN : Number(match[1]);
  if (set >= 0 && set <= maxSetNumber) return set;
  throw new HuskError('data-loss', `send a file to QEMU: it answered "${line.slice(0, 200)}"`);
}

/** Gives QEMU a descriptor of this process under a name, for `migrate fd:NAME` on the same socket. */
export async function sendDescriptor(sendfd: string, fdSocket: string, name: string, fd: number): Promise<void> {
  const child = spawn(sendfd, [fdSocket, 'getfd', name], { stdio: ['ignore', 'ignore', 'ignore', fd], env: {} });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new HuskError('internal', `send descriptor "${name}" to QEMU: exit code ${code ?? 'none'}`);
}
