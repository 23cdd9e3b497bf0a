/** The life of one container before there is a pod: what it runs is compiled and in memory in every clone. */
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { sleep } from '../../../src/base/deadline.ts';
import type { Log } from '../../../src/base/log.ts';
import { AgentService, CreateContainerRequest, Volume } from '../../../src/gen/agent/v1/agent.ts';
import type { ConfiguredPod } from '../../../src/guest/identity.ts';
import { slotBytes } from '../../../src/guest/layer-slots.ts';
import { defaultCapabilities } from '../../../src/oci/capabilities.ts';
import { defaultSeccompProfile } from '../../../src/oci/seccomp.ts';
import { OwnClient } from '../grpc/own-client.ts';
import { LayerTable } from '../layers.ts';
import { containerPlaces, podPlaces } from '../places.ts';
import { Pod, readConfigured } from '../pod.ts';
import { overlay } from '../rootfs.ts';
import { removeContainer } from '../rpc/remove-container.ts';
import { serve } from '../server.ts';
import { preparedSpec } from './plan.ts';

/** As long as any: longer texts are read by another function. */
const id = '0'.repeat(64);
const program = '/bin/busybox';
/** The name that a pod's first emptyDir has. */
const shared = 'p0';
/** Longer than any of the timers that are started with a container's or an exec's end. */
const quietMs = 2_500;
/** V8 notes what comes by at a place in the code after some rounds only; the first ones also find the shapes of objects. */
const rounds = 3;

/**
 * Creates, starts, enters, measures, stops and removes a container of the guest's own busybox, asked for as the host asks: a
 * function that no call has run is compiled in each clone, which costs more than what it does. Nothing of it is left.
 *
 * @param prepare makes a prepared container, of which each round takes one
 */
export async function rehearse(real: Pod, log: Log, prepare: () => Promise<void>): Promise<void> {
  // One of its own, so that nobody hears of its container.
  const { stateDir } = real.settings;
  const own = { socketPath: `${stateDir}/rehearsal.sock`, shareFolder: `${stateDir}/rehearsal` };
  const configured = { resolvConf: true, sharedPid: false };
  const { settings, sys, exits, fifos, runtime } = real;
  const pod = new Pod({ settings: { ...settings, ...own }, sys, exits, fifos, runtime, log }, configured);
  pod.prepared = real.prepared;
  // Its own file server would not answer yet: a folder stands for it.
  pod.volumes.expectFileServer();
  const { upper, written } = containerPlaces(pod.settings, id);
  const { hostnameFile, resolvConfFile, bootIdFile, shmFolder, volumesFolder } = podPlaces(pod.settings);
  const shareFolder = `${own.shareFolder}/${shared}`;
  const files = [hostnameFile, resolvConfFile, bootIdFile];
  const server = await serve(pod, 'none', log);
  const client = await OwnClient.connect(own.socketPath);
  try {
    for (const file of files) writeFileSync(file, '\n');
    planLayers();
    client.begin(AgentService.events, { kind: { $case: 'resume', value: { containers: [] } } });
    for (let round = 0; round < rounds; round += 1) {
      await prepare();
      for (const path of [`${upper}/bin`, `${upper}/etc`, shmFolder, shareFolder]) mkdirSync(path, { recursive: true });
      copyFileSync('/usr/bin/busybox', upper + program);
      writeFileSync(`${upper}/etc/passwd`, 'root:x:0:0:root:/root:/bin/sh\n');
      await calls(client, round);
      await removeContainer(pod, { containerId: id });
    }
    readConfiguredFile(`${settings.stateDir}/rehearsal.json`, configured);
  } finally {
    client.close();
    server.close();
    real.fifos.ownedBy(() => real.ids);
    await removeContainer(pod, { containerId: id });
    await pod.leavings.settled();
    for (const file of files) rmSync(file, { force: true });
    for (const made of [written, own.shareFolder, ...volumeFolders(volumesFolder)])
      rmSync(made, { recursive: true, force: true });
    // Timers that it left would run out in every clone, just when that wakes up.
    await sleep(quietMs);
    // What it left is not to be collected in every clone.
    setFlagsFromString('--expose-gc');
    (runInNewContext('gc') as () => void)();
  }
}

/** A clone reads what its identity left before anything else. */
function readConfiguredFile(path: string, configured: ConfiguredPod): void {
  writeFileSync(path, JSON.stringify(configured));
  for (let round = 0; round < rounds; round += 1) readConfigured(path);
  rmSync(path);
}

async function calls(client: OwnClient, round: number): Promise<void> {
  await client.call(AgentService.hello, { nonce: Buffer.alloc(16) });
  await client.call(AgentService.createContainer, wish(round));
  await client.call(AgentService.putVolume, { volume: configMap(volumeIds(round).tree, '2') });
  await client.call(AgentService.startContainer, { containerId: id });
  const exec = { containerId: id, command: [program, 'echo'], tty: false, timeoutMs: 60_000n };
  for (let round = 0; round < 2; round += 1) await client.call(AgentService.exec, exec);
  await client.call(AgentService.stats, { details: false });
  // Asked to end, which its first process does not; then killed, as with its pod.
  await client.call(AgentService.stopContainer, { containerId: id, signal: 'TERM', graceMs: 50n, lastWords: true });
  await client.call(AgentService.removeContainer, { containerId: id });
}

/** The template's layers disk must not be touched: what a container with layers asks for is only put together. */
function planLayers(): void {
  const table = new LayerTable('/dev/none', '/none');
  table.mapSlots();
  const layers = [0, slotBytes].map((at) => ({ offsetBytes: BigInt(at), sizeBytes: 4096n }));
  for (let round = 0; round < 2; round += 1) {
    const { folders } = table.take(layers);
    overlay(folders, { rootfs: '/none', upper: '/none', work: '/none' }, undefined);
    table.giveBack(layers);
    const files = [{ path: '/etc/hosts', content: Buffer.alloc(1), mode: 0o644, readonly: true }];
    const user = { user: '0:0', supplementalGroups: [1], strictGroups: false };
    const whole = CreateContainerRequest.fromPartial({ ...wish(round), layers, files, user, tty: true, stdin: true });
    CreateContainerRequest.decode(CreateContainerRequest.encode(whole).finish());
  }
}

function wish(round: number): CreateContainerRequest {
  const spec = preparedSpec('', `/pod/${id}`, defaultCapabilities);
  const rlimits = [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 1024 }];
  const process = { ...spec.process, args: [program, 'sleep', '60'], env: ['PATH=/bin'], rlimits, oomScoreAdj: 1 };
  const limits = { cpu: { shares: 2, quota: 100_000, period: 100_000 }, memory: { limit: 64 << 20, swap: 64 << 20 } };
  const resources = { ...spec.linux.resources, ...limits };
  const linux = { ...spec.linux, resources, seccomp: defaultSeccompProfile(defaultCapabilities) };
  const specJson = Buffer.from(JSON.stringify({ ...spec, process, linux }));
  return CreateContainerRequest.fromPartial({ containerId: id, specJson, user: { user: '' }, ...volumes(round) });
}

/** Of a volume that is copied, and one that is shared; they are new in each round. */
function volumeIds(round: number): { readonly tree: string; readonly share: string } {
  return { tree: `a${round}`, share: `b${round}` };
}

function volumeFolders(folder: string): string[] {
  return Array.from({ length: rounds }, (_, round) =>
    Object.values(volumeIds(round)).map((id) => `${folder}/${id}`),
  ).flat();
}

/** A configMap, and an emptyDir. */
function volumes(round: number): Pick<CreateContainerRequest, 'volumes' | 'mounts'> {
  const ids = volumeIds(round);
  const mount = { subPath: '', recursiveReadonly: false, createSubPath: false, deviceAccess: '' };
  return {
    volumes: [
      configMap(ids.tree, '1'),
      { id: ids.share, kind: { $case: 'share', value: { name: shared } }, idMapped: false },
    ],
    mounts: [
      { ...mount, volumeId: ids.tree, containerPath: '/copied', readonly: true },
      { ...mount, volumeId: ids.share, containerPath: '/live', readonly: false },
    ],
  };
}

/** What nearly every pod has: a folder as the kubelet makes it, which becomes another state by the change of one link. */
function configMap(volumeId: string, state: string): Volume {
  const text = (value: string): Buffer => Buffer.from(value);
  const tree = [
    ['', { $case: 'folder', value: {} }],
    [`..${state}`, { $case: 'folder', value: {} }],
    [`..${state}/key`, { $case: 'content', value: text(state) }],
    ['..data', { $case: 'link', value: text(`..${state}`) }],
    ['key', { $case: 'link', value: text('..data/key') }],
  ] as const;
  const entries = tree.map(([path, kind]) => ({ path: text(path), kind, mode: 0o755 }));
  return Volume.fromPartial({ id: volumeId, kind: { $case: 'tree', value: { entries } } });
}
