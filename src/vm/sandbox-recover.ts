/** Taking up the VM pods of an earlier daemon. */
import { describeError } from '../base/errors.ts';
import type { ContainerOffsets } from '../gen/agent/v1/agent.ts';
import { ContainerConfig, PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { ContainerRecord, SandboxRecord } from '../pod/records.ts';
import { ShareServer } from '../volumes/share-server.ts';
import { logPaths } from './container-create.ts';
import { type ContainerLog, openContainerLog } from './container-log.ts';
import { type LivePod, livePod } from './live-pod.ts';
import type { VmRuntimeOptions } from './options.ts';
import { parseVmState } from './vm-state.ts';
import { shareSpec, vmVolumes } from './vm-volumes.ts';

interface Recovery {
  readonly options: VmRuntimeOptions;
  readonly record: SandboxRecord;
  readonly containers: readonly ContainerRecord[];
}

/** The pod, with its logs open where they stood; undefined when its VM is gone. */
export async function recoverPod({ options, record, containers }: Recovery): Promise<LivePod | undefined> {
  const state = parseVmState(record.status.runtimeState);
  if (state === undefined) return undefined;
  if (state.vm === undefined) return undefined;
  const vm = await options.hypervisor.reattach(state.vm);
  if (vm === undefined) return undefined;
  const server = await ShareServer.find(shareSpec(options, record));
  if (server === 'lost') {
    options.log.error({ sandbox: record.id }, 'the file server of a running VM is gone');
    await vm.destroy();
    return undefined;
  }
  const logs = await openLogs(options, record, containers);
  const resume = containers.map(({ id }): ContainerOffsets => {
    const { stdout, stderr } = logs.get(id)?.offsets ?? { stdout: 0n, stderr: 0n };
    return { containerId: id, stdoutOffset: stdout, stderrOffset: stderr };
  });
  try {
    const timeoutMs = options.deadlines.cloneAnswerMs;
    const { agent } = await options.hub.attach(
      { id: record.id, agentSocket: vm.ref.agentSocket, linkKey: state.linkKey, resume },
      { timeoutMs },
    );
    const pod = livePod(vm, agent, vmVolumes(options, record, { vm, agent, server }));
    for (const [id, log] of logs) pod.logs.set(id, log);
    for (const { id, status } of containers) {
      if (status.startedAtNs !== '0' && status.finishedAtNs === '0') pod.running.add(id);
    }
    void followVolumes(pod, containers);
    return pod;
  } catch (caught) {
    options.log.error(
      { sandbox: record.id, error: describeError(caught) },
      'the agent of a running VM does not answer',
    );
    for (const log of logs.values()) await log.close();
    await vm.destroy();
    return undefined;
  }
}

/** Not waited for: a volume that cannot be followed is told, and the pod is there without it. */
async function followVolumes(pod: LivePod, containers: readonly ContainerRecord[]): Promise<void> {
  for (const { configBase64, status } of containers) {
    if (status.finishedAtNs !== '0' || status.removing) continue;
    await pod.volumes.adopt(ContainerConfig.decode(Buffer.from(configBase64, 'base64')));
  }
}

async function openLogs(
  options: VmRuntimeOptions,
  record: SandboxRecord,
  containers: readonly ContainerRecord[],
): Promise<Map<string, ContainerLog>> {
  const sandboxConfig = PodSandboxConfig.decode(Buffer.from(record.configBase64, 'base64'));
  const logs = new Map<string, ContainerLog>();
  for (const container of containers) {
    if (container.logPath === '' || container.status.finishedAtNs !== '0') continue;
    const config = ContainerConfig.decode(Buffer.from(container.configBase64, 'base64'));
    try {
      logs.set(container.id, await openContainerLog(logPaths(options, container, sandboxConfig, config)));
    } catch (caught) {
      options.log.error(
        { container: container.id, error: describeError(caught) },
        'log cannot be opened; its output is dropped',
      );
    }
  }
  return logs;
}
