/** RunPodSandbox for a VM pod: short steps, each with its undo, side by side where none needs the other. */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { cpus } from 'node:os';
import { bothOrNeither } from '../base/both-or-neither.ts';
import { HuskError } from '../base/errors.ts';
import { processUsage } from '../base/process-usage.ts';
import { annotate, span } from '../base/trace.ts';
import { type UndoStack, undoing } from '../base/undo.ts';
import type { ConfigureSandboxRequest } from '../gen/agent/v1/agent.ts';
import type { PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { Vm, VmConfig } from '../hypervisor/hypervisor.ts';
import type { PodInterface } from '../network/network.ts';
import { networkWish, podHostname } from '../pod/network-wish.ts';
import type { SandboxRecord, SandboxStatus } from '../pod/records.ts';
import { resolvConf } from '../pod/resolv-conf.ts';
import { Timeline } from '../pod/timeline.ts';
import { userNamespaceOf } from '../pod/user-namespace.ts';
import { type LivePod, livePod } from './live-pod.ts';
import type { VmRuntimeOptions } from './options.ts';
import { podFolders } from './pod-places.ts';
import { cgroupMemoryBytes, vmSize } from './size.ts';
import type { VmPodState } from './vm-state.ts';
import { vmVolumes } from './vm-volumes.ts';

const maxPids = 64;
const maxResolvConfBytes = 64 * 1024;

export interface StartedPod {
  readonly pod: LivePod;
  /** Goes on: the agent's first answer is stamped when it comes. */
  readonly timeline: Timeline;
  readonly status: Pick<SandboxStatus, 'ips' | 'runtimeState' | 'timeline'>;
}

interface Start {
  readonly options: VmRuntimeOptions;
  readonly record: SandboxRecord;
  readonly config: PodSandboxConfig;
  readonly signal: AbortSignal;
  readonly timeline: Timeline;
  readonly undo: UndoStack;
}

/** Starts the pod. On error all undo steps have run. */
export function startPod(input: Omit<Start, 'timeline' | 'undo'>): Promise<StartedPod> {
  return undoing(async (undo) => {
    const start: Start = { ...input, undo, timeline: new Timeline(input.options.clock) };
    const { options, record, timeline } = start;
    const stage: Stage = (name, work) => runStage(options, name, work);
    const plan = makePlan(start);
    const state = stateOf(start, plan);
    // Before anything is made: after a crash this is what it is found by.
    options.events.saveSandbox(record.id, { runtimeState: state });
    const [vmConfig] = await bothOrNeither(
      start.signal,
      () => stage('prepare', () => prepare(start, plan)),
      (signal) => stage('netns', () => makeNamespace({ ...start, signal })),
    );
    const [podInterface, vm] = await bothOrNeither(
      start.signal,
      (signal) => stage('network', () => attachNetwork({ ...start, signal }, vmConfig.netnsPath)),
      (signal) => stage('vm', () => launch({ ...start, signal }, vmConfig)),
    );
    // The guest first: it is what is waited for, and starting a program holds up everything else here.
    const [pod] = await bothOrNeither(
      start.signal,
      (signal) =>
        stage('identity', () => giveIdentity({ ...start, signal }, { vm, linkKey: state.linkKey }, podInterface)),
      (signal) => stage('tap', () => joinTap({ ...start, signal }, vmConfig.netnsPath, podInterface)),
    );
    const runtimeState: VmPodState = { ...state, vm: pod.vm.ref };
    const ips = podInterface.addresses.map((address) => address.split('/', 1)[0] as string);
    return { pod, timeline, status: { ips, runtimeState, timeline: timeline.steps() } };
  });
}

/** What the VM is to be, without making anything but the claim on a uid. */
function makePlan({ options, record, config, undo }: Start): Omit<VmConfig, 'cgroupPaths'> {
  const uid = options.uids.take();
  undo.add('uid', () => options.uids.give(uid));
  const folders = podFolders(options, record.id);
  return {
    id: record.id,
    ...vmSize(config.linux?.resources, options.size, cpus().length),
    uid,
    netnsPath: options.network.namespacePath(record.id),
    stateFolder: folders.state,
    diskFolder: folders.data,
    diskBytes: options.diskBytes,
    agentSocketUid: options.gatewayUid,
    oomScoreAdj: Number(config.linux?.resources?.oomScoreAdj ?? 0n),
  };
}

async function prepare(start: Start, plan: Omit<VmConfig, 'cgroupPaths'>): Promise<VmConfig> {
  const { options, record, config, undo, timeline } = start;
  const folders = podFolders(options, record.id);
  undo.add('folders', () => removeFolders(folders));
  const parent = config.linux?.cgroupParent ?? '';
  undo.add('cgroup', () => options.cgroups.remove(parent, record.id));
  const limits = { memoryBytes: cgroupMemoryBytes(plan), maxPids };
  const [cgroupPaths] = await Promise.all([
    options.cgroups.create(parent, record.id, limits),
    mkdir(folders.state, { recursive: true, mode: 0o711 }),
    mkdir(folders.data, { recursive: true, mode: 0o700 }),
  ]);
  timeline.stamp('prepared');
  return { ...plan, cgroupPaths };
}

function stateOf({ record, config }: Start, vm: Pick<VmConfig, 'uid' | 'netnsPath'>): VmPodState {
  return {
    uid: vm.uid,
    netnsPath: vm.netnsPath,
    cgroupParent: config.linux?.cgroupParent ?? '',
    hostname: podHostname(config, record),
    sharedPid: config.linux?.securityContext?.namespaceOptions?.pid === 0,
    linkKey: randomBytes(8).toString('hex'),
  };
}

async function makeNamespace({ options, record, signal, undo, timeline }: Start): Promise<void> {
  undo.add('netns', () => options.network.removeNamespace(record.id));
  await options.network.createNamespace(record.id, signal);
  timeline.stamp('netns');
}

async function attachNetwork(start: Start, netnsPath: string): Promise<PodInterface> {
  const { options, record, config, signal, undo, timeline } = start;
  const request = networkWish(record, config, netnsPath);
  undo.add('network', () => options.network.detach(request));
  const podInterface = await options.network.attach(request, signal);
  timeline.stamp('network');
  return podInterface;
}

async function launch(start: Start, vmConfig: VmConfig): Promise<Vm> {
  const { options, record, signal, undo, timeline } = start;
  undo.add('vm', () => options.hypervisor.sweep(record.id, vmConfig));
  const vm = await options.hypervisor.launch(vmConfig, (step) => timeline.stamp(step), signal);
  timeline.stamp(vm.ref.origin);
  return vm;
}

async function joinTap(
  { options, signal, timeline }: Start,
  netnsPath: string,
  podInterface: PodInterface,
): Promise<void> {
  await options.network.joinTap(netnsPath, podInterface, signal);
  timeline.stamp('tap');
}

/** Opens the link; the first thing that the guest does on it is to become this pod. */
async function giveIdentity(
  start: Start,
  { vm, linkKey }: { readonly vm: Vm; readonly linkKey: string },
  podInterface: PodInterface,
): Promise<LivePod> {
  const { options, record, signal, undo, timeline } = start;
  undo.add('agent link', () => options.hub.detach(record.id));
  const timeoutMs = vm.ref.origin === 'clone' ? options.deadlines.cloneAnswerMs : options.deadlines.bootAnswerMs;
  const configure = await identityOf(start, podInterface);
  const { agent, configured } = await withConsole(vm, () =>
    options.hub.attachNew(
      { id: record.id, agentSocket: vm.ref.agentSocket, linkKey, configure },
      { timeoutMs, signal },
    ),
  );
  timeline.stamp('identity');
  const sample = Buffer.from(configured.randomSample).toString('hex');
  options.log.debug({ sandbox: record.id, sample }, 'guest reseeded');
  annotate({ pid: vm.ref.pid, ...processUsage(vm.ref.pid) });
  return livePod(vm, agent, vmVolumes(options, record, { vm, agent }));
}

async function identityOf(
  { options, record, config }: Start,
  podInterface: PodInterface,
): Promise<ConfigureSandboxRequest> {
  const { name, mac, mtu, addresses, routes, dns } = podInterface;
  const userNamespace = userNamespaceOf(config.linux?.securityContext?.namespaceOptions);
  return {
    sandboxId: record.id,
    entropy: randomBytes(64),
    bootId: randomUUID(),
    machineId: randomBytes(16).toString('hex'),
    hostname: podHostname(config, record),
    wallClockNs: options.clock.wallNs(),
    interface: { name, mac, mtu, addresses: [...addresses], routes: [...routes] },
    resolvConf: resolvConf(config.dnsConfig, { ...dns, servers: dns.nameservers }, await hostResolvConf()),
    sysctls: { ...(userNamespace === undefined ? {} : openNetwork), ...config.linux?.sysctls },
    shmSizeBytes: 0n,
    sharedPidNamespace: config.linux?.securityContext?.namespaceOptions?.pid === 0,
    userNamespace,
  };
}

/**
 * The pod's network is the guest's, over which root of the pod's user namespace has no rights: low ports
 * and ping are opened to all, as containerd does for every pod.
 */
const openNetwork = {
  'net.ipv4.ip_unprivileged_port_start': '0',
  'net.ipv4.ping_group_range': '0 2147483647',
};

async function hostResolvConf(): Promise<string> {
  const text = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
  return text.slice(0, maxResolvConfBytes);
}

/** Adds the end of the guest's console to an error: it often says why. */
async function withConsole<T>(vm: Vm, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (caught) {
    const error = HuskError.from(caught);
    const tail = await vm.consoleTail().catch(() => '');
    if (tail === '') throw error;
    throw new HuskError(error.kind, `${error.message}; the guest's console ends with "${tail.slice(-600)}"`, {
      cause: error,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
  }
}

type Stage = <T>(name: string, work: () => Promise<T>) => Promise<T>;

async function runStage<T>(options: VmRuntimeOptions, name: string, work: () => Promise<T>): Promise<T> {
  try {
    const result = await span(name, work);
    await options.failpoints.hit(`run.${name}`);
    return result;
  } catch (caught) {
    throw HuskError.from(caught, name);
  }
}

async function removeFolders(folders: { readonly state: string; readonly data: string }): Promise<void> {
  await rm(folders.state, { recursive: true, force: true });
  await rm(folders.data, { recursive: true, force: true });
}
