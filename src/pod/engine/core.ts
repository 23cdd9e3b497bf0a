/** What the parts of the engine share. */
import type { Clock } from '../../base/clock.ts';
import { HuskError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { ended } from '../container-state.ts';
import type { HeldImages } from '../image-view.ts';
import type { PodPolicy } from '../policy.ts';
import type { ContainerRecord, SandboxRecord } from '../records.ts';
import type { KeyedMutex, Turn } from './keyed-mutex.ts';
import type { PodStore } from './pod-store.ts';
import { type PodRuntimes, runtimeOf } from './runtimes.ts';

export interface EngineCore {
  readonly store: PodStore;
  readonly mutex: KeyedMutex;
  readonly runtimes: PodRuntimes;
  readonly images: HeldImages;
  readonly policy: PodPolicy;
  readonly clock: Clock;
  readonly log: Log;
}

/** Below the two minutes that a kubelet gives a call, so that the answer is ours and says who is busy. */
export const podLockWaitMs = 100_000;
/** Exit code of a process that was killed: 128 and SIGKILL. */
const killedExitCode = 137;

/**
 * One operation of a pod at a time. What can take as long as its caller likes, a grace period
 * or a command, does not run in here.
 */
export function inTurn<T>(core: EngineCore, turn: Omit<Turn, 'waitMs'>, work: () => Promise<T>): Promise<T> {
  return core.mutex.run({ ...turn, waitMs: podLockWaitMs }, work);
}

/** Marks every container of a pod that is gone as ended, where its exit was not reported. */
export function endContainers(core: Pick<EngineCore, 'store' | 'clock'>, sandboxId: string, message: string): void {
  for (const container of core.store.containersOf(sandboxId)) {
    core.store.patchContainer(
      container.id,
      ended(container.status, {
        exitCode: killedExitCode,
        finishedAtNs: core.clock.wallNs(),
        oomKilled: false,
        message,
      }),
    );
  }
}

/** Takes a container away: process, traces, image hold, record, name. May be repeated. */
export async function removeContainerFully(
  core: EngineCore,
  sandbox: SandboxRecord | undefined,
  container: ContainerRecord,
): Promise<void> {
  const marked = core.store.patchContainer(container.id, { removing: true }) ?? container;
  if (sandbox !== undefined) await runtimeOf(core.runtimes, sandbox.runtime).removeContainer(sandbox, marked);
  await core.images.release(container.id);
  core.store.dropContainer(container);
}

/** Takes a pod away with all its containers. May be repeated; finishes what an earlier try left. */
export async function removeSandboxFully(core: EngineCore, sandbox: SandboxRecord): Promise<void> {
  const runtime = runtimeOf(core.runtimes, sandbox.runtime);
  const marked = core.store.patchSandbox(sandbox.id, { phase: 'removing' }) ?? sandbox;
  await runtime.stopSandbox(marked);
  endContainers(core, sandbox.id, 'the pod was removed');
  for (const container of core.store.containersOf(sandbox.id)) await removeContainerFully(core, marked, container);
  await runtime.removeSandbox(marked);
  core.store.dropSandbox(sandbox);
}

/**
 * Takes back a pod that was not made. When even that fails the record stays as not-ready, so
 * that it is listed, and StopPodSandbox and RemovePodSandbox can finish.
 */
export async function sweepSandbox(core: EngineCore, sandbox: SandboxRecord): Promise<void> {
  const record = core.store.findSandbox(sandbox.id) ?? sandbox;
  try {
    await runtimeOf(core.runtimes, record.runtime).sweep(record);
    for (const container of core.store.containersOf(record.id)) {
      await core.images.release(container.id);
      core.store.dropContainer(container);
    }
    core.store.dropSandbox(record);
  } catch (caught) {
    const error = HuskError.from(caught, 'sweep');
    core.log.error(
      { sandbox: record.id, err: error },
      'what was made of a pod could not be taken away; kept for removal',
    );
    core.store.patchSandbox(record.id, { phase: 'not-ready', reason: `clean-up failed: ${error.message}` });
  }
}
