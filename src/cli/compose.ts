/** Puts a daemon together from its parts: the only place that knows all of them. */
import { chmod, mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { AgentEvents } from '../agent/agent.ts';
import { createGatewayHub, type GatewayHub } from '../agent/gateway-hub.ts';
import { systemClock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Failpoints } from '../base/failpoints.ts';
import type { Log } from '../base/log.ts';
import { detectCgroups } from '../cgroups/cgroups.ts';
import type { HandlerInfo, RuntimeInfo } from '../cri/context.ts';
import { type CriServer, createCriServer } from '../cri/server.ts';
import type { HypervisorInfo } from '../hypervisor/hypervisor.ts';
import { createQemuHypervisor, type QemuHypervisor } from '../hypervisor/qemu/hypervisor.ts';
import type { ImageStore } from '../images/image-store.ts';
import { parseHoldRecord, parseImageRecord } from '../images/records.ts';
import { type ClosableImageStore, createImageStore } from '../images/store.ts';
import { createNetwork } from '../network/host-network.ts';
import type { Network } from '../network/network.ts';
import { PodEngine, type PodEngineOptions } from '../pod/engine/pod-engine.ts';
import { parseContainerRecord, parseSandboxRecord } from '../pod/parse-records.ts';
import { openState, type State } from '../state/open-state.ts';
import { defaultDeadlines } from '../vm/options.ts';
import { UidPool } from '../vm/uid-pool.ts';
import { VmRuntime } from '../vm/vm-runtime.ts';
import { recordedUids } from '../vm/vm-state.ts';
import { canMapIds } from '../volumes/mount-features.ts';
import type { Config } from './config.ts';
import { instanceName } from './instance.ts';
import { composeNative, type NativeParts } from './native.ts';
import { startObservation } from './observe.ts';
import { type Programs, placePrograms } from './programs.ts';
import { type StreamingSettings, streamingSettings } from './streaming.ts';
import { version } from './version.ts';
import { warmTemplate } from './warm.ts';

/**
 * The ids that husk's unprivileged processes run as: above what distributions give to people and
 * services, below the ranges of user namespaces, and used by nothing else.
 */
const uids = {
  gateway: 64_010,
  imageWorker: 64_011,
  template: 64_012,
  nativeStreams: 64_013,
  firstVm: 600_000,
  vms: 50_000,
} as const;
/** Where the daemons of this machine agree on who uses which uid; ends with the machine, as VMs do. */
const uidLeases = '/run/husk-uids';
const mib = 1024 * 1024;

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

function openNetwork(config: Config, log: Log): Network {
  const namePrefix = instanceName(config.rootDirectory);
  const folders = { configFolder: config.cniNetDir, pluginFolders: config.cniPluginDir };
  const netuse = join(config.binDirectory, 'husk-netuse');
  return createNetwork({ ...folders, attachmentsFolder: join(config.rootDirectory, 'cni'), netuse, namePrefix }, log);
}

function openImages(
  config: Config,
  programs: Programs,
  state: State,
  parts: { readonly log: Log; readonly failpoints: Failpoints },
): Promise<ClosableImageStore> {
  return createImageStore({
    folder: join(config.rootDirectory, 'images'),
    images: state.records('image', parseImageRecord),
    holds: state.records('image-hold', parseHoldRecord),
    worker: { uid: uids.imageWorker, gid: uids.imageWorker, nodePath: programs.node, program: programs.imageWorker },
    ...parts,
    registryConfigFolder: config.registryConfigDir,
  });
}

interface EngineParts {
  readonly state: State;
  readonly images: ImageStore;
  readonly log: Log;
  readonly accelerator: 'kvm' | 'tcg';
  readonly native: NativeParts;
}

function openEngine(config: Config, parts: EngineParts, runtimes: PodEngineOptions['runtimes']): PodEngine {
  const { state, images, log, accelerator, native } = parts;
  const nativeHandlers = native.handlers.map(({ name }) => name).filter((name) => name !== 'native');
  return new PodEngine({
    sandboxes: state.records('sandbox', parseSandboxRecord),
    containers: state.records('container', parseContainerRecord),
    images,
    runtimes,
    policy: { accelerator, allowEmulation: config.allowEmulation, native: native.policy, nativeHandlers },
    clock: systemClock,
    log,
  });
}

function openUids(config: Config, state: State): UidPool {
  const range = { first: uids.firstVm, count: uids.vms, leases: uidLeases, owner: resolve(config.rootDirectory) };
  return new UidPool(range, recordedUids(state.records('sandbox', parseSandboxRecord).list()));
}

function vmSettings(config: Config) {
  return {
    stateFolder: config.stateDirectory,
    dataFolder: config.rootDirectory,
    gatewayUid: uids.gateway,
    shareProgram: join(config.binDirectory, 'husk-share'),
    size: { vcpus: config.cpu, memoryMiB: config.memory },
    diskBytes: config.diskMib * mib,
    deadlines: defaultDeadlines,
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

/** Passable for the gateway's uid, readable for nobody: the sockets in them have owners of their own. */
async function makeFolders(config: Config): Promise<void> {
  for (const folder of [config.stateDirectory, config.rootDirectory]) {
    await mkdir(folder, { recursive: true, mode: 0o711 });
    await chmod(folder, 0o711);
  }
}

interface HubParts {
  readonly programs: Programs;
  readonly log: Log;
  readonly events: Promise<AgentEvents>;
  readonly streaming: StreamingSettings;
}

/** The gateway goes on for the pods' streams when the daemon ends; without pods it ends too. */
function openHub(config: Config, { programs, log, events, streaming }: HubParts): Promise<GatewayHub> {
  const user = { uid: uids.gateway, gid: uids.gateway };
  return createGatewayHub({
    folder: join(config.stateDirectory, 'gateway'),
    user,
    nodePath: programs.node,
    program: programs.gateway,
    settings: JSON.stringify({ streaming }),
    log,
    events,
  });
}

async function openHypervisor(
  config: Config,
  log: Log,
  hub: Parameters<typeof warmTemplate>[0],
): Promise<QemuHypervisor> {
  return createQemuHypervisor({
    qemu: '/usr/bin/qemu-system-x86_64',
    programs: {
      jail: join(config.binDirectory, 'husk-jail'),
      sendfd: join(config.binDirectory, 'husk-sendfd'),
      memfd: join(config.binDirectory, 'husk-memfd'),
    },
    guestImageFolder: config.guestImage,
    dataFolder: join(config.rootDirectory, 'vm'),
    runFolder: join(config.stateDirectory, 'vm'),
    accel: config.accel,
    template: config.template,
    templateUid: uids.template,
    agentSocketUid: uids.gateway,
    warm: (agentSocket, signal) => warmTemplate(hub, agentSocket, signal),
    clock: systemClock,
    log,
  });
}

/** Without a template VMs still start, by a cold boot: slower, and said in the log. */
async function makeTemplate(hypervisor: QemuHypervisor, config: Config, log: Log): Promise<void> {
  if (hypervisor.info().accelerator === 'tcg' && !config.allowEmulation) return;
  try {
    await hypervisor.prepareTemplate({ vcpus: config.cpu, memoryMiB: config.memory, diskBytes: config.diskMib * mib });
  } catch (caught) {
    log.error({ error: describeError(caught) }, 'no VM template: every VM boots from its kernel until it can be built');
  }
}
