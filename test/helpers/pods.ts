/** Short ways to say what a test wants of a pod. */
import { readFile } from 'node:fs/promises';
import { sleep } from '../../src/base/deadline.ts';
import {
  ContainerConfig,
  CreateContainerRequest,
  PodSandboxConfig,
  RunPodSandboxRequest,
} from '../../src/gen/cri/v1/api.ts';
import type { Daemon } from './daemon.ts';

let names = 0;

/** A pod config with a name of its own; `fields` go on top. */
export function podConfig(fields: object = {}, logDirectory = ''): PodSandboxConfig {
  names += 1;
  const name = `pod-${process.pid}-${names}`;
  return PodSandboxConfig.fromPartial({
    metadata: { name, namespace: 'test', uid: `uid-${name}`, attempt: 0 },
    logDirectory,
    linux: { securityContext: { namespaceOptions: { pid: 1 } } },
    ...fields,
  } as object);
}

/** Runs a pod and returns its id and config. */
export async function runPod(
  daemon: Daemon,
  fields: object = {},
  runtimeHandler = '',
): Promise<{ id: string; config: PodSandboxConfig }> {
  const config = podConfig(fields, `${daemon.folder}/logs/${names}`);
  const { podSandboxId } = await daemon.cri.runPodSandbox(
    RunPodSandboxRequest.fromPartial({ config, runtimeHandler } as object),
  );
  return { id: podSandboxId, config };
}

/** A container that runs a shell line. */
export function shell(image: string, line: string, fields: object = {}): ContainerConfig {
  names += 1;
  return ContainerConfig.fromPartial({
    metadata: { name: `c-${names}`, attempt: 0 },
    image: { image },
    command: ['/bin/sh', '-c', line],
    logPath: `c-${names}.log`,
    linux: { securityContext: { namespaceOptions: { pid: 1 } } },
    ...fields,
  } as object);
}

/** Creates and starts a container. */
export async function startContainer(
  daemon: Daemon,
  pod: { id: string; config: PodSandboxConfig },
  config: ContainerConfig,
): Promise<string> {
  const { containerId } = await daemon.cri.createContainer(
    CreateContainerRequest.fromPartial({ podSandboxId: pod.id, config, sandboxConfig: pod.config } as object),
  );
  await daemon.cri.startContainer({ containerId });
  return containerId;
}

/** The content of a CRI log file, without the prefixes. */
export function logContent(text: string, stream?: 'stdout' | 'stderr'): string {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => /^\S+ (stdout|stderr) ([PF]) (.*)$/s.exec(line))
    .filter((match) => match !== null && (stream === undefined || match[1] === stream))
    .map((match) => `${match?.[3]}${match?.[2] === 'F' ? '\n' : ''}`)
    .join('');
}

/** Stops a pod and removes it. */
export async function removePod(daemon: Daemon, podSandboxId: string): Promise<void> {
  await daemon.cri.stopPodSandbox({ podSandboxId });
  await daemon.cri.removePodSandbox({ podSandboxId });
}

/** Does something so many times, a few at a time, and gives the results in order. */
export async function inBatches<T>(count: number, atATime: number, work: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let from = 0; from < count; from += atATime) {
    const indexes = Array.from({ length: Math.min(atATime, count - from) }, (_, each) => from + each);
    results.push(...(await Promise.all(indexes.map(work))));
  }
  return results;
}

/** Waits until a container's log ends with a line; at most a minute. */
export async function waitForLog(path: string, line: string): Promise<void> {
  for (let tries = 0; tries < 600; tries += 1) {
    const text = await readFile(path, 'utf8').catch(() => '');
    if (logContent(text).endsWith(`${line}\n`)) return;
    await sleep(100);
  }
  throw new Error(`"${line}" did not come in ${path}: ${await readFile(path, 'utf8').catch(String)}`);
}

/** Waits until something holds. @throws Error when it does not within the time */
export async function eventually(holds: () => Promise<boolean>, timeoutMs: number): Promise<void> {
  for (const until = performance.now() + timeoutMs; !(await holds()); await sleep(50))
    if (performance.now() > until) throw new Error(`it does not hold within ${timeoutMs} ms`);
}
