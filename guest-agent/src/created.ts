/** A container as the OCI runtime creates it: the process waits, its streams are ours. */
import { closeSync, rmSync } from 'node:fs';
import type { UndoStack } from '../../src/base/undo.ts';
import type { CreateContainerRequest } from '../../src/gen/agent/v1/agent.ts';
import { op, type SysOp } from '../../src/guest/sys-batch.ts';
import type { OciSpec } from '../../src/oci/runtime-spec.ts';
import { type ContainerStreams, openStdio } from './container-stdio.ts';
import type { ExecTarget } from './exec-request.ts';
import type { ProcessExit } from './exits.ts';
import { containerPlaces, podPlaces } from './places.ts';
import type { Pod } from './pod.ts';

/** A container that was created and not started. */
export interface Created {
  readonly target: ExecTarget;
  readonly streams: ContainerStreams;
  /** Closes what the agent holds of it beside its streams; again is fine. */
  readonly release: () => void;
  readonly exit: Promise<ProcessExit>;
  /** Directory of its cgroup. */
  readonly cgroup: string;
  /** The folder that the OCI runtime made it from; to be removed with it. */
  readonly bundle: string;
  /** Lets the process run its program. @param ended resolves when it has ended */
  readonly start: (ended: Promise<void>) => Promise<void>;
}

/** Runs `create` of the OCI runtime on the bundle that lies in the container's folder. */
export async function createdByRuntime(
  pod: Pod,
  request: Pick<CreateContainerRequest, 'containerId' | 'stdin' | 'stdinOnce' | 'tty'>,
  spec: OciSpec,
  undo: UndoStack,
): Promise<Created> {
  const id = request.containerId;
  const { folder } = containerPlaces(pod.settings, id);
  const cgroup = `${pod.settings.cgroupRoot}${spec.linux.cgroupsPath}`;
  const stdio = await openStdio(pod, request);
  undo.add('output', () => stdio.close());
  addUndo(pod, undo, { cgroup, runtimeId: id, bundle: folder });
  return pod.exits.expect(async () => {
    try {
      const { descriptors, consoleSocket } = stdio;
      const target = await pod.runtime.create(id, folder, { spec, stdio: descriptors, consoleSocket });
      const start = (ended: Promise<void>): Promise<void> => pod.runtime.start(id, folder, ended);
      const exit = pod.exits.exitOf(target.pid);
      return { target, streams: stdio.streams, release: () => undefined, exit, cgroup, bundle: folder, start };
    } finally {
      stdio.handOver();
    }
  });
}

/** Closes the descriptor at the first call. */
export function once(fd: number): () => void {
  let open: number | undefined = fd;
  return () => {
    if (open !== undefined) closeSync(open);
    open = undefined;
  };
}

/** Every clone has the template's boot id in its kernel: containers see one of their own. */
export function showBootId(pod: Pod, { pid }: Pick<ExecTarget, 'pid'>): SysOp {
  const { bootIdFile } = podPlaces(pod.settings);
  return op('procfile', String(pid), bootIdFile, '/proc/sys/kernel/random/boot_id');
}

/** Takes a container away again. */
export function addUndo(
  pod: Pod,
  undo: UndoStack,
  made: { readonly cgroup: string; readonly runtimeId: string; readonly bundle: string },
): void {
  undo.add('runtime', async () => {
    await pod.runtime.delete(made.runtimeId, made.bundle, made.cgroup);
    rmSync(made.bundle, { recursive: true, force: true });
  });
}
