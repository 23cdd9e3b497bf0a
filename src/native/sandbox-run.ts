/** RunPodSandbox for a native pod: namespaces, files and a network, but no process of its own. */
import { mkdir, readFile } from 'node:fs/promises';
import { hostname as hostHostname } from 'node:os';
import { bothOrNeither } from '../base/both-or-neither.ts';
import { HuskError } from '../base/errors.ts';
import { type UndoStack, undoing } from '../base/undo.ts';
import { NamespaceMode, type PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { PodInterface } from '../network/network.ts';
import { networkWish, podHostname } from '../pod/network-wish.ts';
import type { SandboxRecord, SandboxStatus } from '../pod/records.ts';
import { Timeline } from '../pod/timeline.ts';
import { type UserNamespace, userNamespaceOf } from '../pod/user-namespace.ts';
import { removeTree } from './mounts.ts';
import { createNamespaces, removeNamespace, setSysctls } from './namespaces.ts';
import type { NativePodState } from './native-state.ts';
import type { OciCli } from './oci-cli.ts';
import type { NativeRuntimeOptions } from './options.ts';
import { type PodPlaces, podPlaces } from './places.ts';
import { makePodFiles, makePodMounts } from './pod-files.ts';
import { initId, startPodInit } from './pod-init.ts';
import { holdNamespaces } from './user-namespace.ts';

interface Start {
  readonly options: NativeRuntimeOptions;
  readonly runtime: OciCli;
  readonly record: SandboxRecord;
  readonly config: PodSandboxConfig;
  readonly signal: AbortSignal;
  readonly places: PodPlaces;
  readonly state: NativePodState;
  readonly undo: UndoStack;
}

type Input = Pick<Start, 'options' | 'runtime' | 'record' | 'config' | 'signal'>;

/** Makes the pod. On error all undo steps have run. */
export function startPod(input: Input): Promise<Pick<SandboxStatus, 'ips' | 'runtimeState' | 'timeline'>> {
  return undoing(async (undo) => {
    const { options, record, config } = input;
    const timeline = new Timeline(options.clock);
    const places = podPlaces(options, record.id);
    const start: Start = { ...input, undo, places, state: await podState(config, record) };
    options.events.saveSandbox(record.id, { runtimeState: start.state });
    const owner = podUserNamespace(config);
    const stage = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
      const result = await runStage(options, name, work);
      timeline.stamp(name);
      return result;
    };
    await stage('folders', () => makeFolders(start));
    await stage('netns', () => makeNetns(start));
    // CNI's plugins take most of the time, and need nothing of the rest.
    const [podInterface] = await bothOrNeither(
      input.signal,
      (signal) => stage('network', () => attachNetwork({ ...start, signal })),
      async (signal) => {
        await stage('namespaces', () => makeNamespaces({ ...start, signal }));
        await stage('mounts', () => makePodMounts({ places, config, ownIpc: start.state.own.ipc }));
      },
    );
    await stage('files', () => makePodFiles({ places, record, config, podInterface, owner }));
    await stage('init', () => makeInit(start));
    const ips = (podInterface?.addresses ?? []).map((address) => address.split('/', 1)[0] as string);
    return { ips, runtimeState: start.state, timeline: timeline.steps() };
  });
}

async function podState(config: PodSandboxConfig, record: SandboxRecord): Promise<NativePodState> {
  const namespaces = config.linux?.securityContext?.namespaceOptions;
  const network = namespaces?.network !== NamespaceMode.NODE;
  return {
    kind: 'native',
    bootId: await readBootId(),
    hostname: network ? podHostname(config, record) : hostHostname(),
    // A pod on the host's network has the host's name too, as in every runtime.
    own: { network, ipc: namespaces?.ipc !== NamespaceMode.NODE, uts: network },
    sharedPid: namespaces?.pid === NamespaceMode.POD,
  };
}

/** The kernel's id of this boot. */
export async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'latin1')).trim();
}

async function makeFolders({ places, undo }: Start): Promise<void> {
  undo.add('folders', async () => {
    await removeTree(places.state);
    await removeTree(places.data);
  });
  // Closed, but where root of a user namespace has to pass on its way to a container's root.
  await mkdir(places.containers, { recursive: true, mode: 0o711 });
  await mkdir(places.data, { recursive: true, mode: 0o700 });
}

async function makeNetns(input: Start): Promise<void> {
  const { options, record, signal, state, undo } = input;
  if (!state.own.network) return;
  const { network } = options;
  undo.add('netns', () => network.removeNamespace(record.id));
  const netnsPath = await network.createNamespace(record.id, signal);
  await makeUserNamespace(input, netnsPath);
}

async function attachNetwork({
  options,
  record,
  config,
  signal,
  state,
  undo,
}: Start): Promise<PodInterface | undefined> {
  if (!state.own.network) return undefined;
  const { network } = options;
  const wish = networkWish(record, config, network.namespacePath(record.id));
  undo.add('network', () => network.detach(wish));
  return network.attach(wish, signal);
}

/** With it come the pod's other namespaces, which must be its own. */
async function makeUserNamespace(
  { options, config, signal, state, places, undo }: Start,
  netnsPath: string,
): Promise<void> {
  const namespace = podUserNamespace(config);
  if (namespace === undefined) return;
  if (!options.host.mapsLayers) {
    throw new HuskError(
      'failed-precondition',
      'config.linux.security_context.namespace_options.userns_options "POD": this kernel cannot map the owners of layers',
      { hint: 'run the pod with RuntimeClass handler "vm", or the node with Linux 6.2 or newer' },
    );
  }
  undo.add('user namespace', async () => {
    for (const path of [places.user, places.ipc, places.uts]) await removeNamespace(path);
  });
  const { hostname } = state;
  const program = options.programs.userns;
  await holdNamespaces({ program, namespace, hostname, places, netnsPath }, signal);
}

function podUserNamespace(config: PodSandboxConfig): UserNamespace | undefined {
  return userNamespaceOf(config.linux?.securityContext?.namespaceOptions);
}

async function makeNamespaces({ options, record, config, signal, state, places, undo }: Start): Promise<void> {
  undo.add('namespaces', async () => {
    await removeNamespace(places.ipc);
    await removeNamespace(places.uts);
  });
  const { own, hostname } = state;
  const wish = { ipc: own.ipc ? places.ipc : undefined, uts: own.uts ? places.uts : undefined, hostname };
  if (podUserNamespace(config) === undefined) await createNamespaces(wish, signal);
  const net = own.network ? options.network.namespacePath(record.id) : undefined;
  await setSysctls(config.linux?.sysctls ?? {}, { net, ipc: wish.ipc }, signal);
}

async function makeInit({ options, runtime, record, config, state, places, undo }: Start): Promise<void> {
  if (!state.sharedPid) return;
  const place = { parent: config.linux?.cgroupParent ?? '', sandboxId: record.id };
  undo.add('cgroup', () => options.cgroups.remove(place));
  undo.add('init', async () => {
    await runtime.delete(initId(record.id));
    await removeNamespace(places.pid);
  });
  await startPodInit(runtime, {
    id: record.id,
    places,
    program: options.programs.podInit,
    cgroupsPath: options.cgroups.ociPath(place, initId(record.id)),
    namespaces: {
      ...(state.own.network ? { network: options.network.namespacePath(record.id) } : {}),
      ...(state.own.ipc ? { ipc: places.ipc } : {}),
      ...(state.own.uts ? { uts: places.uts } : {}),
    },
    userNamespace: podUserNamespace(config),
  });
}

async function runStage<T>(options: NativeRuntimeOptions, name: string, work: () => Promise<T>): Promise<T> {
  try {
    const result = await work();
    await options.failpoints.hit(`native-run.${name}`);
    return result;
  } catch (caught) {
    throw HuskError.from(caught, name);
  }
}
