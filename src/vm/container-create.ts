/** CreateContainer in a VM pod: layers into the VM, the spec, the log, then one agent call. */
import { bothOrNeither } from '../base/both-or-neither.ts';
import { span } from '../base/trace.ts';
import { type UndoStack, undoing } from '../base/undo.ts';
import type { ContainerConfig, PodSandboxConfig } from '../gen/cri/v1/api.ts';
import { readLocalhostSeccomp } from '../oci/localhost-seccomp.ts';
import { buildSpec } from '../oci/spec.ts';
import { userRequest } from '../oci/user.ts';
import type { Image } from '../pod/image-view.ts';
import type { ContainerRecord, ContainerStatusRecord, SandboxRecord } from '../pod/records.ts';
import { userNamespaceOf } from '../pod/user-namespace.ts';
import { type LogPaths, openContainerLog } from './container-log.ts';
import type { LivePod } from './live-pod.ts';
import type { VmRuntimeOptions } from './options.ts';
import { logPositionPath, podFolders } from './pod-places.ts';
import { refuseWhatVmsLack } from './unsupported.ts';
import { parseVmState } from './vm-state.ts';

/** Where the agent keeps the pod's shared PID namespace, and its user namespace. */
const sharedPidNamespace = '/run/husk/ns/pid';
const podUserNamespace = '/run/husk/ns/user';

export interface CreateInput {
  readonly options: VmRuntimeOptions;
  readonly pod: LivePod;
  readonly sandbox: SandboxRecord;
  readonly container: ContainerRecord;
  readonly sandboxConfig: PodSandboxConfig;
  readonly config: ContainerConfig;
  readonly image: Image;
  readonly volumeImages: ReadonlyMap<string, Image>;
  readonly signal: AbortSignal;
}

/** Creates the container. On error nothing of it is left, in the guest or on the host. */
export function createContainer(input: CreateInput): Promise<Pick<ContainerStatusRecord, 'user'>> {
  return undoing(async (undo) => {
    const { options, pod, container, config, image, signal } = input;
    refuseWhatVmsLack(config);
    const spec = await specOf(input);
    const user = userRequest(config.linux?.securityContext, image.config.user);
    const [layers] = await bothOrNeither(
      signal,
      (inner) => span('layers', () => pod.vm.attachLayers(image.layers, inner)),
      () => openLog(input, undo),
    );
    await options.failpoints.hit('create.layers');
    undo.add('container', () => pod.agent.removeContainer(container.id, { timeoutMs: options.deadlines.agentCallMs }));
    const request = {
      containerId: container.id,
      specJson: Buffer.from(JSON.stringify(spec)),
      layers: layers.map(({ offsetBytes, sizeBytes }) => ({
        offsetBytes: BigInt(offsetBytes),
        sizeBytes: BigInt(sizeBytes),
      })),
      user: { ...user, supplementalGroups: [...user.supplementalGroups] },
      tty: config.tty,
      stdin: config.stdin,
      stdinOnce: config.stdinOnce,
      files: [],
      ...(options.foreground === true ? { foreground: true } : {}),
    };
    const call = { timeoutMs: options.deadlines.agentCallMs, signal };
    const answer = await pod.volumes.with(
      { mounts: config.mounts, devices: config.devices, images: input.volumeImages },
      (made) => pod.agent.createContainer({ ...request, ...made }, call),
    );
    await options.failpoints.hit('create.container');
    const resolved = answer.user;
    return {
      user:
        resolved === undefined
          ? null
          : { uid: resolved.uid, gid: resolved.gid, supplementalGroups: resolved.supplementalGroups },
    };
  });
}

async function openLog(
  { options, pod, container, sandboxConfig, config }: CreateInput,
  undo: UndoStack,
): Promise<void> {
  if (container.logPath === '') return;
  const log = await openContainerLog(logPaths(options, container, sandboxConfig, config));
  pod.logs.set(container.id, log);
  undo.add('log', async () => {
    pod.logs.delete(container.id);
    await log.close();
  });
  await options.failpoints.hit('create.log');
}

/** The paths of a container's log; used again after a restart. */
export function logPaths(
  options: Pick<VmRuntimeOptions, 'stateFolder' | 'dataFolder'>,
  container: Pick<ContainerRecord, 'id' | 'sandboxId'>,
  sandboxConfig: Pick<PodSandboxConfig, 'logDirectory'>,
  config: Pick<ContainerConfig, 'logPath'>,
): LogPaths {
  return {
    folder: sandboxConfig.logDirectory,
    relative: config.logPath,
    position: logPositionPath(podFolders(options, container.sandboxId).data, container.id),
  };
}

async function specOf({
  sandbox,
  container,
  sandboxConfig,
  config,
  image,
}: CreateInput): Promise<ReturnType<typeof buildSpec>> {
  const state = parseVmState(sandbox.status.runtimeState);
  const pid = config.linux?.securityContext?.namespaceOptions?.pid;
  const shared = state?.sharedPid === true && pid === 0;
  const seccomp = await readLocalhostSeccomp(config);
  const userNamespace = userNamespaceOf(sandboxConfig.linux?.securityContext?.namespaceOptions);
  return buildSpec({
    containerId: container.id,
    config,
    image: image.config,
    hostname: state?.hostname ?? sandbox.metadata.name,
    ...(shared ? { pidNamespacePath: sharedPidNamespace } : {}),
    ...(userNamespace === undefined ? {} : { userNamespace: { ...userNamespace, path: podUserNamespace } }),
    ...(seccomp === undefined ? {} : { localhostSeccomp: seccomp }),
  });
}
