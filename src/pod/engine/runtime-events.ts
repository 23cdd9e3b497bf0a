/** What runtimes tell of their own accord, written into the records. */
import { ended } from '../container-state.ts';
import type { PodRuntimeEvents } from '../pod-runtime.ts';
import { type EngineCore, endContainers } from './core.ts';

/** Reports may come at any time, also more than once, and for what is no longer known. */
export function runtimeEvents(core: Omit<EngineCore, 'runtimes'>): PodRuntimeEvents {
  return {
    onContainerExit(containerId, exit) {
      const container = core.store.findContainer(containerId);
      if (container === undefined) return;
      core.store.patchContainer(containerId, ended(container.status, exit));
      const { exitCode, oomKilled } = exit;
      core.log.info(
        { sandbox: container.sandboxId, container: containerId, exitCode, oomKilled },
        'container has exited',
      );
    },
    onSandboxLost(sandboxId, reason) {
      const phase = core.store.findSandbox(sandboxId)?.status.phase;
      // Half made: its maker reads the reason. Stopped or being removed: not news.
      if (phase === 'intended') core.store.patchSandbox(sandboxId, { reason });
      if (phase !== 'ready') return;
      endContainers(core, sandboxId, `the pod is gone: ${reason}`);
      core.store.patchSandbox(sandboxId, { phase: 'not-ready', reason });
      core.log.error({ sandbox: sandboxId, reason }, 'pod is lost');
    },
    saveSandbox(sandboxId, change) {
      core.store.patchSandbox(sandboxId, change);
    },
  };
}
