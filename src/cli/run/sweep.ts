/** Takes away what runs left that were killed: their pods by the records they wrote, then their folders. */
import { existsSync } from 'node:fs';
import type { AgentEvents, AgentHub } from '../../agent/agent.ts';
import { GatewayProcess } from '../../agent/gateway-process.ts';
import { describeError, HuskError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import type { QemuHypervisor } from '../../hypervisor/qemu/hypervisor.ts';
import { removeTree } from '../../native/mounts.ts';
import { parseSandboxRecord } from '../../pod/parse-records.ts';
import { openState } from '../../state/open-state.ts';
import type { Config } from '../config.ts';
import { gatewayFolder, openHypervisor } from '../parts.ts';
import { runConfig, sharedConfig } from './places.ts';
import { openPod } from './pod-parts.ts';
import { knownRuns } from './shared-state.ts';

/** A container that is taken away needs no streams. */
const noStreams = {
  stdin: 'ignore',
  stdout: 'ignore',
  stderr: 'ignore',
  size: undefined,
  onResizer: () => undefined,
} as const;

/** To be called while nobody else works on what is shared. What cannot be taken away is logged, and tried again next time. */
export async function sweepDeadRuns(config: Config, log: Log): Promise<void> {
  for (const { id, alive } of await knownRuns(config)) {
    if (alive) continue;
    try {
      await sweepRun(config, id, log);
      log.info({ run: id }, 'what a killed run had left is taken away');
    } catch (caught) {
      log.error({ run: id, error: describeError(caught) }, 'what a killed run has left could not be taken away');
    }
  }
}

async function sweepRun(config: Config, id: string, log: Log): Promise<void> {
  const own = runConfig(config, id);
  await endGateway(own, log);
  const state = openState(own.rootDirectory, log);
  try {
    const sandboxes = state.records('sandbox', parseSandboxRecord).list();
    if (sandboxes.length > 0) {
      await using stack = new AsyncDisposableStack();
      const hypervisor = sandboxes.some(({ runtime }) => runtime === 'vm')
        ? stack.adopt(await openHypervisor(sharedConfig(config), log, goneHub), (open: QemuHypervisor) => open.close())
        : undefined;
      const vm = hypervisor && { hypervisor, hub: goneHub, ears: Promise.withResolvers<AgentEvents>() };
      const pod = stack.use(
        await openPod({ config, own, state, log, image: undefined, plugins: true, vm, streams: noStreams }),
      );
      for (const sandbox of sandboxes) await pod.engine.sandboxes.remove(sandbox.id);
    }
  } finally {
    state.close();
  }
  await removeRun(own);
}

/** Removes the folders of a run whose pod is gone. */
export async function removeRun(own: Config): Promise<void> {
  await removeTree(own.stateDirectory);
  await removeTree(own.rootDirectory);
}

async function endGateway(own: Config, log: Log): Promise<void> {
  const folder = gatewayFolder(own);
  if (!existsSync(folder)) return;
  await new GatewayProcess({ folder, nodePath: '', program: '', settings: '', log }).stop();
}

/** The links ended with the gateway. */
const goneHub: AgentHub = {
  attach: () =>
    Promise.reject(new HuskError('unavailable', 'attach to a VM of a run that was killed: it is taken away')),
  attachNew: () =>
    Promise.reject(new HuskError('unavailable', 'attach to a VM of a run that was killed: it is taken away')),
  detach: () => Promise.resolve(),
  close: () => Promise.resolve(),
};
