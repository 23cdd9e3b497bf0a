/** Puts a daemon together from its parts: the only place that knows all of them. */
import { join } from 'node:path';
import type { AgentEvents } from '../agent/agent.ts';
import { systemClock } from '../base/clock.ts';
import { startToolThread } from '../base/exec.ts';
import type { Failpoints } from '../base/failpoints.ts';
import type { Log } from '../base/log.ts';
import { detectCgroups } from '../cgroups/cgroups.ts';
import type { HandlerInfo, RuntimeInfo } from '../cri/context.ts';
import { type CriServer, createCriServer } from '../cri/server.ts';
import type { HypervisorInfo } from '../hypervisor/hypervisor.ts';
import { openState } from '../state/open-state.ts';
import { VmRuntime } from '../vm/vm-runtime.ts';
import { canMapIds } from '../volumes/mount-features.ts';
import type { Config } from './config.ts';
import { instanceName } from './instance.ts';
import { composeNative } from './native.ts';
import { startObservation } from './observe.ts';
import {
  makeFolders,
  makeTemplate,
  openEngine,
  openHub,
  openHypervisor,
  openImages,
  openNetwork,
  openUids,
  uids,
  vmSettings,
} from './parts.ts';
import { placePrograms } from './programs.ts';
import { streamingSettings } from './streaming.ts';
import { version } from './version.ts';

export interface Daemon {
  /** Serves CRI on a UNIX socket. */
  readonly cri: CriServer;
  /** Lets go of everything; pods go on. */
  close(): Promise<void>;
}

/**
 * Builds the daemon, takes up what an earlier one left, and makes the VM template ready.
 * Everything acquired on the way is given back when a step fails.
 */
export async function composeDaemon(config: Config, log: Log, failpoints: Failpoints): Promise<Daemon> {
  await using closing = new AsyncDisposableStack();
  closing.use(startToolThread());
  await makeFolders(config);
  const state = closing.adopt(openState(config.rootDirectory, log), (open) => open.close());
  const programs = await placePrograms(config.binDirectory, join(config.rootDirectory, 'programs'), process.execPath);
  const network = openNetwork(config, log);
  const images = closing.adopt(await openImages(config, programs, state, { log, failpoints }), (store) =>
    store.close(),
  );
  // The hub is needed by the runtime, and the runtime's ears by the hub: events wait for what is made below.
  const ears = Promise.withResolvers<AgentEvents>();
  let podsLeft = false;
  const streaming = await streamingSettings(config);
  const hub = closing.adopt(await openHub(config, { programs, log, events: ears.promise, streaming }), (open) =>
    podsLeft ? open.close() : open.shutdown(),
  );
  const hypervisor = closing.adopt(await openHypervisor(config, log, hub), (open) =>
    open.close(podsLeft ? 'keep' : 'release'),
  );
  const cgroups = await detectCgroups(undefined, instanceName(config.rootDirectory));
  const streams = { url: hub.streamUrl, gatewayGid: uids.gateway, uid: uids.nativeStreams };
  const native = await composeNative(config, { network, log, clock: systemClock, failpoints, streams });
  const { accelerator } = hypervisor.info();
  const engine = openEngine(config, { state, images, log, accelerator, native }, (events) => {
    const parts = { hypervisor, network, hub, cgroups, events, log, clock: systemClock, failpoints };
    const vm = new VmRuntime({ ...parts, ...vmSettings(config), uids: openUids(config, state) });
    ears.resolve(vm.agentEvents);
    return native.make === undefined
      ? { vm }
      : { vm, native: closing.adopt(native.make(events), (open) => open.close()) };
  });
  await engine.recover();
  await makeTemplate(hypervisor, config, log);
  const vm = { name: 'vm', recursiveReadOnlyMounts: true, userNamespaces: await mapsIds(config, log) };
  const info = runtimeInfo(config, hypervisor.info(), [vm, ...native.handlers]);
  const { observers, podTraces } = closing.use(await startObservation(config, engine, log));
  const cri = createCriServer({ engine, images, network, info, log, clock: systemClock, observers, podTraces });
  const owned = closing.move();
  return {
    cri,
    async close() {
      await cri.close();
      podsLeft = engine.sandboxes.list({ id: '', state: 'ready', labels: {} }).length > 0;
      await owned.disposeAsync();
    },
  };
}

/** Volumes that are shared live are mapped by the host. */
function mapsIds(config: Config, log: Log): Promise<boolean> {
  return canMapIds(vmSettings(config).shareProgram, config.rootDirectory, log);
}

function runtimeInfo(config: Config, hypervisor: HypervisorInfo, handlers: readonly HandlerInfo[]): RuntimeInfo {
  return {
    version,
    cgroupDriver: config.cgroupDriver,
    accelerator: hypervisor.accelerator,
    acceleratorReason: hypervisor.acceleratorReason,
    hypervisorVersion: hypervisor.version,
    allowEmulation: config.allowEmulation,
    handlers,
  };
}
