/** The engine of a direct run: one pod, the daemon's code, other folders. */
import type { AgentEvents, AgentHub } from '../../agent/agent.ts';
import { systemClock } from '../../base/clock.ts';
import { noFailpoints } from '../../base/failpoints.ts';
import type { Log } from '../../base/log.ts';
import { detectCgroups } from '../../cgroups/cgroups.ts';
import type { QemuHypervisor } from '../../hypervisor/qemu/hypervisor.ts';
import type { ForegroundStreams } from '../../native/foreground.ts';
import type { PodEngine } from '../../pod/engine/pod-engine.ts';
import type { HeldImages, Image } from '../../pod/image-view.ts';
import { allowAllNative } from '../../pod/native-policy.ts';
import type { PodRuntime } from '../../pod/pod-runtime.ts';
import type { State } from '../../state/open-state.ts';
import { VmRuntime } from '../../vm/vm-runtime.ts';
import type { Config } from '../config.ts';
import { instanceName } from '../instance.ts';
import { composeForeground, type NativeParts } from '../native.ts';
import { openEngine, openNetwork, openUids, vmSettings } from '../parts.ts';
import { withoutPlugins } from './no-network.ts';
import { sharedConfig } from './places.ts';

/** What VM pods need. */
export interface VmParts {
  readonly hub: AgentHub;
  readonly hypervisor: QemuHypervisor;
  /** Resolved with the runtime's ears once it is made. */
  readonly ears: PromiseWithResolvers<AgentEvents>;
}

export interface PodParts {
  /** The settings as given: the run's names are those of the shared folder. */
  readonly config: Config;
  /** The settings with the run's own folders. */
  readonly own: Config;
  readonly state: State;
  readonly log: Log;
  readonly image: Image | undefined;
  /** Whether CNI plugins give the pod its network. */
  readonly plugins: boolean;
  /** Absent: no VM is run or taken away. */
  readonly vm: VmParts | undefined;
  /** Absent: no container is run natively, or taken away. */
  readonly streams: ForegroundStreams | undefined;
}

/** @returns the engine; disposing stops watching and ends nothing */
export async function openPod(parts: PodParts): Promise<{ readonly engine: PodEngine } & Disposable> {
  const { config, own, state, log, image, vm, streams } = parts;
  // Names that all of the machine sees: one instance for all runs, whose pods have ids of their own.
  const instance = instanceName(sharedConfig(config).rootDirectory);
  const plugged = openNetwork(own, log, instance);
  const network = parts.plugins ? plugged : withoutPlugins(plugged);
  const shared = { network, log, clock: systemClock, failpoints: noFailpoints };
  const native = streams === undefined ? noNative : await composeForeground(own, shared, streams);
  const cgroups = await detectCgroups(undefined, instance);
  const accelerator = vm?.hypervisor.info().accelerator ?? 'tcg';
  using stack = new DisposableStack();
  const engine = openEngine(config, { state, images: heldImages(image), log, accelerator, native }, (events) => {
    const runtimes: { vm?: PodRuntime; native?: PodRuntime } = {};
    if (vm !== undefined) {
      const { hub, hypervisor } = vm;
      const options = { ...shared, ...vmSettings(own), hub, hypervisor, cgroups, events, foreground: true };
      const runtime = new VmRuntime({ ...options, uids: openUids(own, state) });
      vm.ears.resolve(runtime.agentEvents);
      runtimes.vm = runtime;
    }
    if (native.make !== undefined) runtimes.native = stack.adopt(native.make(events), (made) => made.close());
    return runtimes;
  });
  const owned = stack.move();
  return { engine, [Symbol.dispose]: () => owned.dispose() };
}

const noNative: NativeParts = { make: undefined, policy: allowAllNative, handlers: [] };

/** The one image, which nobody takes away while the run lasts. */
function heldImages(image: Image | undefined): HeldImages {
  return { get: () => image, hold: () => undefined, release: () => Promise.resolve() };
}
