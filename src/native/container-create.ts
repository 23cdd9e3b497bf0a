/** CreateContainer in a native pod: root file system, user, spec, then conmon and the OCI runtime. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { appendFlags, openBeneath } from '../base/beneath.ts';
import { HuskError } from '../base/errors.ts';
import { undoing } from '../base/undo.ts';
import { NamespaceMode, PodSandboxConfig } from '../gen/cri/v1/api.ts';
import { type ProcessUser, resolveUser } from '../oci/resolve-user.ts';
import { userRequest } from '../oci/user.ts';
import { checkUserIsMapped } from '../oci/user-namespace.ts';
import type { ContainerWish } from '../pod/pod-runtime.ts';
import type { ContainerRecord, ContainerStatusRecord, SandboxRecord } from '../pod/records.ts';
import { type UserNamespace, userNamespaceOf } from '../pod/user-namespace.ts';
import { startConmon } from './conmon.ts';
import { destroyContainer } from './container-destroy.ts';
import { nativeSpec } from './container-spec.ts';
import type { NativeContext } from './context.ts';
import { mountImageVolumes } from './image-volumes.ts';
import { type NativePodState, parseNativeState } from './native-state.ts';
import { type ContainerPlaces, containerPlaces, type PodPlaces, podPlaces, sharedPlaces } from './places.ts';
import { podInitRuns } from './pod-init.ts';
import { isContainerProcess, readPidFile } from './processes.ts';
import { mountRoot, readUserFiles } from './root-fs.ts';
import { ownStreams } from './user-namespace.ts';

const logMode = 0o640;
/** The name of the cgroup for conmon, beside those of the containers. */
const conmonCgroup = 'conmon';

interface Create {
  readonly context: NativeContext;
  readonly sandbox: SandboxRecord;
  readonly container: ContainerRecord;
  readonly wish: ContainerWish;
  readonly signal: AbortSignal;
  readonly state: NativePodState;
  readonly sandboxConfig: PodSandboxConfig;
  readonly pod: PodPlaces;
  readonly places: ContainerPlaces;
  readonly userNamespace: UserNamespace | undefined;
}

type Input = Pick<Create, 'context' | 'sandbox' | 'container' | 'wish' | 'signal'>;

/** Creates the container. On error nothing of it is left. */
export function createContainer(input: Input): Promise<Pick<ContainerStatusRecord, 'user'>> {
  return undoing(async (undo) => {
    const { context, sandbox, container } = input;
    const state = parseNativeState(sandbox.status.runtimeState);
    if (state === undefined) throw new HuskError('failed-precondition', `pod "${sandbox.id}": it was never made`);
    const pod = podPlaces(context.options, sandbox.id);
    const places = containerPlaces(pod, container.id);
    const sandboxConfig = PodSandboxConfig.decode(Buffer.from(sandbox.configBase64, 'base64'));
    const userNamespace = userNamespaceOf(sandboxConfig.linux?.securityContext?.namespaceOptions);
    const create: Create = { ...input, state, sandboxConfig, pod, places, userNamespace };
    refuseWhatIsNotThere(create);
    undo.add('container', () => destroyContainer(context, sandbox, container.id));
    await mkdir(places.folder, { mode: create.userNamespace === undefined ? 0o700 : 0o711 });
    const logPath = await makeLog(create);
    await hit(create, 'log');
    await mountContainerRoot(create);
    await hit(create, 'root');
    const user = await userOf(create);
    await writeSpec(create, user);
    await hit(create, 'spec');
    // In the foreground creation and start are one step of the OCI runtime: nothing runs before.
    if (context.options.foreground === undefined) {
      await startConmon(conmonWish(create, logPath), input.signal);
      if (userNamespace !== undefined) await ownStreams(places.pidFile, userNamespace, user);
    }
    await hit(create, 'container');
    const { uid, gid, supplementalGroups } = user;
    return { user: { uid, gid, supplementalGroups } };
  });
}

function hit({ context }: Create, place: string): Promise<void> {
  return context.options.failpoints.hit(`native-create.${place}`);
}

function refuseWhatIsNotThere({ wish: { config } }: Create): void {
  const [cdi] = config.CDIDevices;
  if (cdi === undefined) return;
  throw new HuskError('unimplemented', `config.CDI_devices "${cdi.name.slice(0, 200)}": CDI is not there yet`, {
    hint: 'name the device in config.devices',
  });
}

/** Makes the log file and its folder before conmon opens it, so that what is wrong with the path is said here. */
async function makeLog({ container, pod, sandboxConfig, wish }: Create): Promise<string | undefined> {
  if (container.logPath === '') return undefined;
  const file = await openBeneath(sandboxConfig.logDirectory, wish.config.logPath, appendFlags, logMode);
  await file.close();
  return join(pod.logs, wish.config.logPath);
}

async function mountContainerRoot({ context, container, places, wish, userNamespace }: Create): Promise<void> {
  const security = wish.config.linux?.securityContext;
  await mountRoot(context.layers, {
    containerId: container.id,
    places,
    layers: wish.image.layers,
    devices: security?.privileged === true,
    setuid: security?.noNewPrivs !== true,
    mapped:
      userNamespace === undefined ? undefined : { namespace: userNamespace, program: context.options.programs.userns },
  });
}

async function userOf({ places, wish, userNamespace }: Create): Promise<ProcessUser> {
  const asked = userRequest(wish.config.linux?.securityContext, wish.image.config.user);
  const user = resolveUser(
    { ...asked, supplementalGroups: [...asked.supplementalGroups] },
    await readUserFiles(places.rootfs),
  );
  if (userNamespace !== undefined) checkUserIsMapped(userNamespace, user);
  return user;
}

async function writeSpec(create: Create, user: ProcessUser): Promise<void> {
  const { context, container, sandbox, sandboxConfig, pod, places, state, wish, userNamespace } = create;
  const { options } = context;
  const place = { parent: sandboxConfig.linux?.cgroupParent ?? '', sandboxId: sandbox.id };
  const imageSources = await mountImageVolumes(context.layers, {
    containerId: container.id,
    places,
    mounts: wish.config.mounts,
    images: wish.volumeImages,
    program: options.programs.userns,
  });
  const spec = await nativeSpec({
    containerId: container.id,
    config: wish.config,
    image: wish.image,
    sandboxConfig,
    state,
    host: options.host,
    pod,
    container: places,
    cgroupsPath: options.cgroups.ociPath(place, container.id),
    netnsPath: options.network.namespacePath(sandbox.id),
    targetPid: await pidNamespaceOf(create),
    user,
    userNamespace,
    usernsProgram: options.programs.userns,
    imageSources,
  });
  context.warnOfClamp(Number(wish.config.linux?.resources?.oomScoreAdj ?? 0n));
  // The OCI runtime sets the size only when the program runs already.
  const { size } = options.foreground ?? {};
  if (spec.process.terminal && size !== undefined) spec.process.consoleSize = { ...size };
  await writeFile(places.spec, JSON.stringify(spec), { mode: 0o600 });
}

/** The PID namespace of another container of the pod, for `TARGET`; and the pod's own must be alive for `POD`. */
async function pidNamespaceOf({ pod, sandbox, state, wish }: Create): Promise<string | undefined> {
  const options = wish.config.linux?.securityContext?.namespaceOptions;
  if (options?.pid === NamespaceMode.POD && state.sharedPid && !(await podInitRuns(pod, sandbox.id))) {
    throw new HuskError('failed-precondition', `pod "${sandbox.id}": PID 1 of its PID namespace has ended`, {
      hint: 'remove the pod; the kubelet makes a new one',
    });
  }
  if (options?.pid !== NamespaceMode.TARGET) return undefined;
  const field = 'config.linux.security_context.namespace_options.target_id';
  if (!/^[0-9a-f]{64}$/.test(options.targetId)) {
    throw new HuskError('invalid-argument', `${field} "${options.targetId}": wanted the id of a container`);
  }
  const pid = await readPidFile(containerPlaces(pod, options.targetId).pidFile);
  if (pid === undefined || !(await isContainerProcess(pid, options.targetId))) {
    throw new HuskError('failed-precondition', `${field} "${options.targetId}": no such container runs in this pod`);
  }
  return `/proc/${pid}/ns/pid`;
}

function conmonWish(create: Create, logPath: string | undefined): Parameters<typeof startConmon>[0] {
  const { context, container, sandbox, sandboxConfig, places, wish } = create;
  const { options } = context;
  const place = { parent: sandboxConfig.linux?.cgroupParent ?? '', sandboxId: sandbox.id };
  return {
    conmon: options.programs.conmon,
    runtime: context.runtimeOf(sandbox),
    containerId: container.id,
    name: container.metadata.name,
    places,
    exits: sharedPlaces(options).exits,
    logPath,
    tty: wish.config.tty,
    stdin: wish.config.stdin,
    stdinOnce: wish.config.stdinOnce,
    place: (pid) => options.cgroups.join(place, conmonCgroup, pid),
  };
}
