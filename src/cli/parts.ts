/** The parts that a daemon and a direct run are put together from. */
import { chmod, mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { AgentEvents } from '../agent/agent.ts';
import { createGatewayHub, type GatewayHub } from '../agent/gateway-hub.ts';
import { systemClock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Failpoints } from '../base/failpoints.ts';
import type { Log } from '../base/log.ts';
import { createQemuHypervisor, type QemuHypervisor } from '../hypervisor/qemu/hypervisor.ts';
import { parseHoldRecord, parseImageRecord } from '../images/records.ts';
import { type ClosableImageStore, createImageStore } from '../images/store.ts';
import { createNetwork } from '../network/host-network.ts';
import type { Network } from '../network/network.ts';
import { PodEngine, type PodEngineOptions } from '../pod/engine/pod-engine.ts';
import type { HeldImages } from '../pod/image-view.ts';
import { parseContainerRecord, parseSandboxRecord } from '../pod/parse-records.ts';
import type { State } from '../state/open-state.ts';
import { defaultDeadlines, type VmRuntimeOptions } from '../vm/options.ts';
import { UidPool } from '../vm/uid-pool.ts';
import { recordedUids } from '../vm/vm-state.ts';
import type { Config } from './config.ts';
import { instanceName } from './instance.ts';
import type { NativeParts } from './native.ts';
import type { Programs } from './programs.ts';
import type { StreamingSettings } from './streaming.ts';
import { warmTemplate } from './warm.ts';

/**
 * The ids that husk's unprivileged processes run as: above what distributions give to people and
 * services, below the ranges of user namespaces, and used by nothing else.
 */
export const uids = {
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

/** @param namePrefix how the names of its namespaces begin */
export function openNetwork(config: Config, log: Log, namePrefix = instanceName(config.rootDirectory)): Network {
  const folders = { configFolder: config.cniNetDir, pluginFolders: config.cniPluginDir };
  const netuse = join(config.binDirectory, 'husk-netuse');
  return createNetwork({ ...folders, attachmentsFolder: join(config.rootDirectory, 'cni'), netuse, namePrefix }, log);
}

export function openImages(
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
  readonly images: HeldImages;
  readonly log: Log;
  readonly accelerator: 'kvm' | 'tcg';
  readonly native: Pick<NativeParts, 'handlers' | 'policy'>;
}

export function openEngine(config: Config, parts: EngineParts, runtimes: PodEngineOptions['runtimes']): PodEngine {
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

export function openUids(config: Config, state: State): UidPool {
  const range = { first: uids.firstVm, count: uids.vms, leases: uidLeases, owner: resolve(config.rootDirectory) };
  return new UidPool(range, recordedUids(state.records('sandbox', parseSandboxRecord).list()));
}

type VmSettings = Omit<
  VmRuntimeOptions,
  'hypervisor' | 'network' | 'hub' | 'cgroups' | 'events' | 'log' | 'clock' | 'failpoints' | 'uids' | 'foreground'
>;

export function vmSettings(config: Config): VmSettings {
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

/** Passable for the gateway's uid, readable for nobody: the sockets in them have owners of their own. */
export async function makeFolders(config: Config): Promise<void> {
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

/** Where the gateway of a state directory keeps its files. */
export function gatewayFolder(config: Pick<Config, 'stateDirectory'>): string {
  return join(config.stateDirectory, 'gateway');
}

/** The gateway goes on for the pods' streams when the daemon ends; without pods it ends too. */
export function openHub(config: Config, { programs, log, events, streaming }: HubParts): Promise<GatewayHub> {
  const user = { uid: uids.gateway, gid: uids.gateway };
  return createGatewayHub({
    folder: gatewayFolder(config),
    user,
    nodePath: programs.node,
    program: programs.gateway,
    settings: JSON.stringify({ streaming }),
    log,
    events,
  });
}

/** Where the hypervisor keeps its templates. */
export function templatesFolder(config: Pick<Config, 'rootDirectory'>): string {
  return join(config.rootDirectory, 'vm/templates');
}

export async function openHypervisor(
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
export async function makeTemplate(
  hypervisor: QemuHypervisor,
  config: Config,
  log: Log,
  signal?: AbortSignal,
): Promise<void> {
  if (hypervisor.info().accelerator === 'tcg' && !config.allowEmulation) return;
  try {
    const { cpu: vcpus, memory: memoryMiB, diskMib } = config;
    await hypervisor.prepareTemplate({ vcpus, memoryMiB, diskBytes: diskMib * mib }, signal);
  } catch (caught) {
    log.error({ error: describeError(caught) }, 'no VM template: every VM boots from its kernel until it can be built');
  }
}
