/** A daemon for native pods, and what it holds on the machine. */
import { readdirSync, readFileSync } from 'node:fs';
import { sleep } from '../../src/base/deadline.ts';
import {
  ContainerState,
  type ContainerStatus,
  type PodSandboxConfig,
  PullImageRequest,
} from '../../src/gen/cri/v1/api.ts';
import { busyboxImage, type Entry } from '../fixtures/oci-image.ts';
import { pushImage, startRegistry } from '../fixtures/registry.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { podConfig } from './pods.ts';

export interface NativeBench {
  readonly daemon: Daemon;
  readonly image: string;
  /** Runs a pod by the handler `native`; `security` is the pod's security context. */
  runPod(security?: object, fields?: object, handler?: string): Promise<NativePod>;
  removePod(id: string): Promise<void>;
  /** Waits for the end of a container. */
  exited(containerId: string): Promise<ContainerStatus>;
  /** The daemon's mounts, loop devices, processes, namespaces and cgroups. */
  holdings(): string[];
  close(): Promise<void>;
}

export interface NativePod {
  readonly id: string;
  readonly config: PodSandboxConfig;
}

/** Starts one; VMs play no part in it, so no template is made. */
export async function startNativeBench(
  options: { readonly flags?: readonly string[]; readonly extra?: readonly Entry[] } = {},
): Promise<NativeBench> {
  const image = 'docker.io/library/busybox:latest';
  const registry = await startRegistry();
  await pushImage(registry, 'library/busybox:latest', busyboxImage({ extra: options.extra ?? [] }));
  const flags = ['--template=false', '--accel=tcg', ...(options.flags ?? [])];
  const daemon = await startDaemon({ mirror: { to: registry.host, of: ['docker.io'] }, flags });
  await daemon.cri.pullImage(PullImageRequest.fromPartial({ image: { image } }));
  const ids = new Set<string>();
  return {
    daemon,
    image,
    async runPod(security = {}, fields = {}, handler = 'native') {
      const securityContext = { namespaceOptions: { pid: 1 }, ...security };
      const config = podConfig({ linux: { securityContext }, ...fields }, `${daemon.folder}/logs`);
      const { podSandboxId: id } = await daemon.cri.runPodSandbox({ config, runtimeHandler: handler });
      ids.add(id.slice(0, 12));
      return { id, config };
    },
    async removePod(podSandboxId) {
      await daemon.cri.stopPodSandbox({ podSandboxId });
      await daemon.cri.removePodSandbox({ podSandboxId });
    },
    async exited(containerId) {
      for (let tries = 0; tries < 1200; tries += 1) {
        const { status } = await daemon.cri.containerStatus({ containerId, verbose: false });
        if (status?.state === ContainerState.CONTAINER_EXITED) return status;
        await sleep(50);
      }
      throw new Error(
        `container ${containerId} runs on; the daemon's log ends with ${(await daemon.log()).slice(-2000)}`,
      );
    },
    holdings: () => holdings(daemon, ids),
    async close() {
      await daemon.stop();
      await registry.stop();
    },
  };
}

function holdings(daemon: Daemon, ids: ReadonlySet<string>): string[] {
  const names = (folder: string): string[] => (list(folder) ?? []).map((name) => `${folder}/${name}`);
  const ours = (path: string): boolean => [...ids].some((id) => path.includes(id));
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(daemon.folder));
  const loops = names('/sys/block').filter((path) => read(`${path}/loop/backing_file`).includes(daemon.folder));
  const processes = names('/proc').filter((path) => {
    const line = read(`${path}/cmdline`);
    return line.includes(daemon.folder) && !line.includes('huskd') && !line.includes('gateway');
  });
  const cgroups = names('/sys/fs/cgroup').flatMap((root) => names(`${root}/husk`));
  return [
    ...mounts.map((line) => `mount ${line.split(' ')[4]}`),
    ...loops,
    ...processes.map((path) => `process ${read(`${path}/cmdline`).replaceAll('\0', ' ')}`),
    ...names('/run/netns').filter(ours),
    ...cgroups.filter(ours),
    ...names(`${daemon.folder}/run/pods`),
    ...names(`${daemon.folder}/lib/pods`),
    ...names(`${daemon.folder}/run/native/exits`),
    ...names(`${daemon.folder}/run/streams`),
  ];
}

function list(folder: string): string[] | undefined {
  try {
    return readdirSync(folder);
  } catch {
    return undefined;
  }
}

/** What is gone while it is looked at does not count. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
