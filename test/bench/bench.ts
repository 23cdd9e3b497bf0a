/** What a section of the benchmark works with. */
import { join } from 'node:path';
import { CreateContainerRequest, PullImageRequest, RunPodSandboxRequest } from '../../src/gen/cri/v1/api.ts';
import type { TestRegistry } from '../fixtures/registry.ts';
import { podConfig } from '../helpers/pods.ts';
import type { LoadWatch } from './load.ts';
import type { Plan } from './plan.ts';
import type { Recorder } from './results.ts';
import type { HuskSubject } from './subjects/husk.ts';
import type { Subject } from './subjects/subject.ts';

export interface Bench {
  readonly plan: Plan;
  /** Root of the sources. */
  readonly repository: string;
  readonly registry: TestRegistry;
  readonly husk: HuskSubject;
  /** The peer; undefined when there is none here, which makes the result invalid. */
  readonly peer: Subject | undefined;
  readonly recorder: Recorder;
  readonly watch: LoadWatch;
  /** Folder for what is kept between runs. */
  readonly cache: string;
  /** Fires when the run is to end early. */
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
}

/** One pod, under way or ready. */
export interface Pod {
  readonly id: string;
  readonly containerId: string;
  readonly runMs: number;
  readonly createMs: number;
  readonly startMs: number;
}

export interface PodWish {
  readonly image: string;
  /** Runs on the host's kernel: privileged. */
  readonly privileged?: boolean;
  readonly mounts?: readonly {
    readonly hostPath: string;
    readonly containerPath: string;
    readonly readonly?: boolean;
  }[];
  readonly devices?: readonly {
    readonly hostPath: string;
    readonly containerPath: string;
    readonly permissions: string;
  }[];
  /** In place of one of its own. */
  readonly uid?: string;
}

/** Longer than any run; the container ends with its pod. */
const sleepSeconds = 36_000;

/** Subjects in an order that alternates, so that neither is always first. */
export function inTurns({ husk, peer }: Pick<Bench, 'husk' | 'peer'>, round: number): Subject[] {
  const subjects: Subject[] = peer === undefined ? [husk] : [husk, peer];
  return round % 2 === 0 ? subjects : subjects.toReversed();
}

/** Runs work and says how long it took, in milliseconds. */
export async function timed<T>(work: () => Promise<T>): Promise<{ readonly ms: number; readonly result: T }> {
  const start = performance.now();
  const result = await work();
  return { ms: performance.now() - start, result };
}

export async function pull(subject: Subject, image: string): Promise<void> {
  await subject.cri.pullImage(PullImageRequest.fromPartial({ image: { image } }), 600_000);
}

/** Makes a pod with one container that sleeps; each call is timed by itself. */
export async function startPod(subject: Subject, wish: PodWish, signal: AbortSignal): Promise<Pod> {
  signal.throwIfAborted();
  const security = wish.privileged === true ? { privileged: true } : {};
  const linux = { securityContext: { ...security, namespaceOptions: { pid: 1 } } };
  const config = podConfig({ linux }, join(subject.folder, 'logs'));
  if (wish.uid !== undefined && config.metadata !== undefined) config.metadata.uid = wish.uid;
  const sandbox = await timed(() =>
    subject.cri.runPodSandbox(RunPodSandboxRequest.fromPartial({ config } as object), 240_000),
  );
  signal.throwIfAborted();
  const podSandboxId = sandbox.result.podSandboxId;
  const container = {
    metadata: { name: 'main', attempt: 0 },
    image: { image: wish.image },
    command: ['/bin/sleep', String(sleepSeconds)],
    logPath: `${config.metadata?.name}.log`,
    mounts: wish.mounts ?? [],
    devices: wish.devices ?? [],
    linux,
  };
  const created = await timed(() =>
    subject.cri.createContainer(
      CreateContainerRequest.fromPartial({ podSandboxId, config: container, sandboxConfig: config } as object),
    ),
  );
  signal.throwIfAborted();
  const { containerId } = created.result;
  const started = await timed(() => subject.cri.startContainer({ containerId }));
  return { id: podSandboxId, containerId, runMs: sandbox.ms, createMs: created.ms, startMs: started.ms };
}

export function readyMs({ runMs, createMs, startMs }: Pod): number {
  return runMs + createMs + startMs;
}

/** ExecSync of `true`; an exit code that is not 0 is no sample but an error. */
export async function execTrue(subject: Subject, { containerId }: Pod): Promise<number> {
  const { ms, result } = await timed(() => subject.cri.execSync({ containerId, cmd: ['/bin/true'], timeout: 60n }));
  if (result.exitCode !== 0) throw new Error(`exec in ${subject.name}: exit code ${result.exitCode}`);
  return ms;
}

/** Stops and removes a pod; how long each took. @param between runs in no figure, the pod stopped */
export async function removePod(
  subject: Subject,
  { id: podSandboxId }: Pick<Pod, 'id'>,
  between: () => Promise<void> = () => Promise.resolve(),
): Promise<{ readonly stopMs: number; readonly removeMs: number }> {
  const stop = await timed(() => subject.cri.stopPodSandbox({ podSandboxId }));
  await between();
  const remove = await timed(() => subject.cri.removePodSandbox({ podSandboxId }));
  return { stopMs: stop.ms, removeMs: remove.ms };
}

/** Removes many, a few at a time. */
export async function removeAll(subject: Subject, pods: readonly Pick<Pod, 'id'>[]): Promise<void> {
  const left = [...pods];
  const remover = async (): Promise<void> => {
    for (let pod = left.pop(); pod !== undefined; pod = left.pop()) await removePod(subject, pod);
  };
  await Promise.all([remover(), remover(), remover(), remover()]);
}
