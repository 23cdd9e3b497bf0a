/** RunPodSandbox for a VM pod: ten short steps, each with its undo. */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { cpus } from 'node:os';
import { HuskError } from '../base/errors.ts';
import { processUsage } from '../base/process-usage.ts';
import { annotate, span } from '../base/trace.ts';
import { type UndoStack, undoing } from '../base/undo.ts';
import type { PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { Vm, VmConfig } from '../hypervisor/hypervisor.ts';
import type { PodInterface } from '../network/network.ts';
import { networkWish, podHostname } from '../pod/network-wish.ts';
import type { SandboxRecord, SandboxStatus } from '../pod/records.ts';
import { resolvConf } from '../pod/resolv-conf.ts';
import { Timeline } from '../pod/timeline.ts';
import { type LivePod, livePod } from './live-pod.ts';
import type { VmRuntimeOptions } from './options.ts';
import { podFolders } from './pod-places.ts';
import { cgroupMemoryBytes, vmSize } from './size.ts';
import type { UidPool } from './uid-pool.ts';
import type { VmPodState } from './vm-state.ts';

const maxPids = 64;
const maxResolvConfBytes = 64 * 1024;

export interface StartedPod {
  readonly pod: LivePod;
  readonly status: Pick<SandboxStatus, 'ips' | 'runtimeState' | 'timeline'>;
}

interface Start {
  readonly options: VmRuntimeOptions;
  readonly uids: UidPool;
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
    const vmConfig = await stage('prepare', () => prepare(start));
    const state = stateOf(start, vmConfig);
    options.events.saveSandbox(record.id, { runtimeState: state });
    await stage('netns', () => makeNamespace(start));
    timeline.stamp('netns');
    const [podInterface, pod] = await bothOrNeither(
      start.signal,
      (signal) => stage('network', () => attachNetwork({ ...start, signal }, vmConfig.netnsPath)),
      (signal) => stage('vm', () => startVm({ ...start, signal }, vmConfig)),
    );
    await stage('tap', () => options.network.joinTap(vmConfig.netnsPath, podInterface, start.signal));
    timeline.stamp('tap');
    await stage('identity', () => configure(start, pod, podInterface));
    timeline.stamp('identity');
    const runtimeState: VmPodState = { ...state, vm: pod.vm.ref };
    const ips = podInterface.addresses.map((address) => address.split('/', 1)[0] as string);
    return { pod, status: { ips, runtimeState, timeline: timeline.steps() } };
  });
}

async function prepare({ options, uids, record, config, undo }: Start): Promise<VmConfig> {
  const uid = uids.take();
  undo.add('uid', () => uids.give(uid));
  const folders = podFolders(options, record.id);
  undo.add('folders', () => removeFolders(folders));
  await mkdir(folders.state, { recursive: true, mode: 0o711 });
  await mkdir(folders.data, { recursive: true, mode: 0o700 });
  const size = vmSize(config.linux?.resources, options.size, cpus().length);
  const parent = config.linux?.cgroupParent ?? '';
  undo.add('cgroup', () => options.cgroups.remove(parent, record.id));
  const cgroupPaths = await options.cgroups.create(parent, record.id, {
    memoryBytes: cgroupMemoryBytes(size),
    maxPids,
  });
  return {
    id: record.id,
    ...size,
    uid,
    netnsPath: options.network.namespacePath(record.id),
    cgroupPaths,
    stateFolder: folders.state,
    diskFolder: folders.data,
    diskBytes: options.diskBytes,
    agentSocketUid: options.gatewayUid,
    oomScoreAdj: Number(config.linux?.resources?.oomScoreAdj ?? 0n),
  };
}

function stateOf({ record, config }: Start, vm: VmConfig): VmPodState {
  return {
    uid: vm.uid,
    netnsPath: vm.netnsPath,
    cgroupParent: config.linux?.cgroupParent ?? '',
    hostname: podHostname(config, record),
    sharedPid: config.linux?.securityContext?.namespaceOptions?.pid === 0,
  };
}

async function makeNamespace({ options, record, signal, undo }: Start): Promise<void> {
  undo.add('netns', () => options.network.removeNamespace(record.id));
  await options.network.createNamespace(record.id, signal);
}

async function attachNetwork(start: Start, netnsPath: string): Promise<PodInterface> {
  const { options, record, config, signal, undo, timeline } = start;
  const request = networkWish(record, config, netnsPath);
  undo.add('network', () => options.network.detach(request));
  const podInterface = await options.network.attach(request, signal);
  timeline.stamp('network');
  return podInterface;
}

async function startVm(start: Start, vmConfig: VmConfig): Promise<LivePod> {
  const { options, record, signal, undo, timeline } = start;
  undo.add('vm', () => options.hypervisor.sweep(record.id, vmConfig));
  const vm = await options.hypervisor.launch(vmConfig, (step) => timeline.stamp(step), signal);
  timeline.stamp(vm.ref.origin);
  undo.add('agent link', () => options.hub.detach(record.id));
  const timeoutMs = vm.ref.origin === 'clone' ? options.deadlines.cloneAnswerMs : options.deadlines.bootAnswerMs;
  const { agent } = await withConsole(vm, () =>
    options.hub.attach({ id: record.id, agentSocket: vm.ref.agentSocket, resume: [] }, { timeoutMs, signal }),
  );
  timeline.stamp('agent');
  annotate({ pid: vm.ref.pid, ...processUsage(vm.ref.pid) });
  return livePod(vm, agent);
}

async function configure(start: Start, pod: LivePod, podInterface: PodInterface): Promise<void> {
  const { options, record, config, signal } = start;
  const { name, mac, mtu, addresses, routes, dns } = podInterface;
  const sample = await withConsole(pod.vm, async () =>
    pod.agent.configureSandbox(
      {
        sandboxId: record.id,
        entropy: randomBytes(64),
        bootId: randomUUID(),
        machineId: randomBytes(16).toString('hex'),
        hostname: podHostname(config, record),
        wallClockNs: options.clock.wallNs(),
        interface: { name, mac, mtu, addresses: [...addresses], routes: [...routes] },
        resolvConf: resolvConf(config.dnsConfig, { ...dns, servers: dns.nameservers }, await hostResolvConf()),
        sysctls: config.linux?.sysctls ?? {},
        shmSizeBytes: 0n,
        sharedPidNamespace: config.linux?.securityContext?.namespaceOptions?.pid === 0,
      },
      { timeoutMs: options.deadlines.agentCallMs, signal },
    ),
  );
  options.log.debug({ sandbox: record.id, sample: Buffer.from(sample.randomSample).toString('hex') }, 'guest reseeded');
}

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

/**
 * Runs both at once. When one fails the other is cancelled, and waited for, so that no undo
 * runs beside work that goes on.
 */
async function bothOrNeither<A, B>(
  outer: AbortSignal,
  first: (signal: AbortSignal) => Promise<A>,
  second: (signal: AbortSignal) => Promise<B>,
): Promise<[A, B]> {
  const failed = new AbortController();
  const signal = AbortSignal.any([outer, failed.signal]);
  const abortOthers = (caught: unknown): never => {
    failed.abort(caught);
    throw caught;
  };
  const [a, b] = await Promise.allSettled([first(signal).catch(abortOthers), second(signal).catch(abortOthers)]);
  if (a.status === 'fulfilled' && b.status === 'fulfilled') return [a.value, b.value];
  throw failed.signal.reason;
}

async function removeFolders(folders: { readonly state: string; readonly data: string }): Promise<void> {
  await rm(folders.state, { recursive: true, force: true });
  await rm(folders.data, { recursive: true, force: true });
}
