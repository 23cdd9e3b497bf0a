/** The typed wrapper of `c/jail`: starts one program that owns nothing but descriptors. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withDeadline } from '../base/deadline.ts';
import { HuskError } from '../base/errors.ts';
import { mark } from '../base/trace.ts';
import { type JailedProcess, watchChild } from './process.ts';
import { readyLine } from './ready-line.ts';

/** Descriptors that the jailed program finds open; c/jail/jail.h fixes the numbers up to `tap`, `share` and `stream`. */
export const jailFds = {
  ...{ memory: 3, state: 4, qmp: 5, fds: 6, agent: 7, tap: 8, firstFile: 9 },
  ...{ share: 14, stream: 31 },
} as const;

/** Names of what the jail makes in the state folder. */
export const jailFiles = {
  qmpSocket: 'qmp.sock',
  fdSocket: 'fds.sock',
  agentSocket: 'agent.sock',
  /** Beside the agent's: the gateway finds it by this name. */
  streamSocket: 'bulk.sock',
  shareSocket: 'share.sock',
  pid: 'vm.pid',
  exit: 'vm.exit',
  messages: 'qemu.log',
} as const;

/** A file of the host that the program gets as an open descriptor, from `jailFds.firstFile` to 30. */
export interface JailFile {
  readonly fd: number;
  readonly path: string;
}

/** A writable disk that the jail makes, owned by the program's uid: a sparse copy, 1 TiB long. */
export interface JailDisk extends JailFile {
  /** The formatted disk it is a copy of. */
  readonly source: string;
}

export interface JailSpec {
  /** Where sockets and bookkeeping go: root's, passable (0711) for the owner of the agent and stream sockets. */
  readonly stateFolder: string;
  /** The folder that becomes the program's root: see RuntimeRoot. */
  readonly root: string;
  readonly uid: number;
  readonly agentSocketUid: number;
  /** Namespace the tap is made in; `new`: one that nothing else is in. */
  readonly netns: string;
  readonly cgroupPaths: readonly string[];
  /** -1000 to 1000; below what huskd has, only where the kernel allows. */
  readonly oomScoreAdj: number;
  /** Largest file the program can write, in bytes. */
  readonly maxFileBytes: number;
  readonly kvm: boolean;
  /** Memory and device state of a template, as descriptors of this process; `sealed`: refuse them if not. */
  readonly memory?: { readonly memoryFd: number; readonly stateFd: number; readonly sealed: boolean };
  /** Opened read-only. */
  readonly files: readonly JailFile[];
  readonly disk?: JailDisk;
  /** Absolute path inside the root, and the arguments. */
  readonly command: readonly [string, ...string[]];
}

/** Opening sockets, a tap and two files: milliseconds; only a broken host needs longer. */
const readyTimeoutMs = 10_000;

/** The argument vector of c/jail. Pure. */
export function jailArguments(spec: JailSpec): string[] {
  const args = ['--state', spec.stateFolder, '--root', spec.root, '--netns', spec.netns];
  args.push('--uid', String(spec.uid), '--agent-uid', String(spec.agentSocketUid));
  args.push('--oom', String(spec.oomScoreAdj), '--file-bytes', String(spec.maxFileBytes));
  for (const path of spec.cgroupPaths) args.push('--cgroup', path);
  if (spec.kvm) args.push('--kvm');
  if (spec.memory?.sealed) args.push('--sealed');
  for (const file of spec.files) args.push('--open-ro', String(file.fd), file.path);
  // After --uid: the disk is given to it.
  if (spec.disk !== undefined) args.push('--disk', String(spec.disk.fd), spec.disk.source, spec.disk.path);
  return [...args, '--', ...spec.command];
}

/**
 * Starts the program and returns when its sockets listen. It outlives this process.
 *
 * @throws HuskError `internal` with the jail's message, `resource-exhausted` when a disk is full, `failed-precondition`
 *   when the launcher is missing, `deadline-exceeded`, `cancelled`
 */
export async function launchJailed(jailPath: string, spec: JailSpec, signal?: AbortSignal): Promise<JailedProcess> {
  const memory = spec.memory === undefined ? [] : [spec.memory.memoryFd, spec.memory.stateFd];
  // Both sides of the call: it blocks by the size of this process.
  mark('spawn_called');
  const child = spawn(jailPath, jailArguments(spec), {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore', ...memory],
    env: {},
    cwd: '/',
  });
  mark('spawn_returned');
  const exited = once(child, 'exit').then(
    () => undefined,
    () => undefined,
  );
  try {
    const line = await withDeadline('start of the jail', readyTimeoutMs, signal, () => readyLine(jailPath, child));
    const ready = /^ready (\d{1,10}) (\d{1,20})\n$/.exec(line);
    if (ready === null)
      throw new HuskError(kindOf(line), `start "${spec.command[0]}": ${line.trim() || 'the launcher died'}`);
    child.unref();
    const identity = { pid: Number(ready[1]), startTicks: ready[2] as string };
    return watchChild(identity, join(spec.stateFolder, jailFiles.exit), exited);
  } catch (caught) {
    // Before the `ready` the keeper has no program running that it would not take along.
    child.kill('SIGKILL');
    throw HuskError.from(caught, 'jail');
  }
}

/** The jail ends its message with the words of strerror(3). */
function kindOf(message: string): 'resource-exhausted' | 'internal' {
  return /: (No space left on device|Disk quota exceeded)\n?$/.test(message) ? 'resource-exhausted' : 'internal';
}

/** What the program said on standard error: at most 64 KiB, empty when there is no such file. */
export async function jailMessages(stateFolder: string): Promise<string> {
  return readFile(join(stateFolder, jailFiles.messages), 'utf8').catch(() => '');
}
