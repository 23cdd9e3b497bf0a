/**
 * What the daemon does about its records when it starts: half-made pods are taken back, live ones
 * taken up, removals finished. One pod that resists does not keep the daemon from serving others.
 */
import { HuskError } from '../../base/errors.ts';
import type { SandboxRecord } from '../records.ts';
import { recoveryOf } from '../sandbox-state.ts';
import { type EngineCore, endContainers, removeContainerFully, removeSandboxFully, sweepSandbox } from './core.ts';
import { runtimeOf } from './runtimes.ts';

/** Pods recovered at a time. */
const concurrency = 8;

/** Brings records and the node into agreement. Never throws: what fails is logged and kept. */
export async function recover(core: EngineCore): Promise<void> {
  const queue = core.store.sandboxes();
  const worker = async (): Promise<void> => {
    for (let record = queue.shift(); record !== undefined; record = queue.shift()) await recoverSandbox(core, record);
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  await dropOrphans(core);
  holdImages(core);
}

async function recoverSandbox(core: EngineCore, sandbox: SandboxRecord): Promise<void> {
  const step = recoveryOf(sandbox.status.phase);
  try {
    switch (step) {
      case 'sweep':
        await sweepSandbox(core, sandbox);
        break;
      case 'take-up':
        await takeUp(core, sandbox);
        break;
      case 'finish-removal':
        await removeSandboxFully(core, sandbox);
        break;
      case 'leave':
        break;
      default:
        step satisfies never;
    }
    await finishContainers(core, sandbox.id);
  } catch (caught) {
    core.log.error({ sandbox: sandbox.id, step, err: HuskError.from(caught, 'recover') }, 'pod could not be recovered');
  }
}

async function takeUp(core: EngineCore, sandbox: SandboxRecord): Promise<void> {
  const runtime = runtimeOf(core.runtimes, sandbox.runtime);
  const whole = core.store.containersOf(sandbox.id).filter(({ status }) => !status.intended);
  let reason = 'the pod was gone when the daemon started';
  try {
    if (await runtime.recover(sandbox, whole)) {
      core.log.info({ sandbox: sandbox.id, containers: whole.length }, 'pod is taken up again');
      return;
    }
  } catch (caught) {
    const error = HuskError.from(caught, 'recover');
    core.log.error({ sandbox: sandbox.id, err: error }, 'pod could not be taken up again');
    reason = `the pod could not be taken up again: ${error.message}`;
    // Its processes may live: a pod that is told to be not ready must be.
    await runtime.stopSandbox(sandbox).catch((cleanup: unknown) => {
      core.log.error({ sandbox: sandbox.id, err: cleanup }, 'pod could not be stopped; StopPodSandbox will try again');
    });
  }
  endContainers(core, sandbox.id, reason);
  core.store.patchSandbox(sandbox.id, { phase: 'not-ready', reason });
  core.log.warn({ sandbox: sandbox.id, reason }, 'pod is not ready');
}

/** Takes away the containers that were half made or half removed. */
async function finishContainers(core: EngineCore, sandboxId: string): Promise<void> {
  const sandbox = core.store.findSandbox(sandboxId);
  if (sandbox === undefined) return;
  for (const container of core.store.containersOf(sandboxId)) {
    const { intended, removing } = container.status;
    if (intended || removing) await removeContainerFully(core, sandbox, container);
  }
}

/** Containers whose pod has no record: the pod was swept or removed, only this write was missing. */
async function dropOrphans(core: EngineCore): Promise<void> {
  for (const container of core.store.containers()) {
    if (core.store.findSandbox(container.sandboxId) !== undefined) continue;
    try {
      await removeContainerFully(core, undefined, container);
    } catch (caught) {
      core.log.error(
        { container: container.id, err: caught },
        'record of a container without a pod could not be dropped',
      );
    }
  }
}

function holdImages(core: EngineCore): void {
  for (const container of core.store.containers()) {
    try {
      core.images.hold(container.imageId, container.id);
    } catch (caught) {
      core.log.warn({ container: container.id, image: container.imageId, err: caught }, 'image of a container is gone');
    }
  }
}
