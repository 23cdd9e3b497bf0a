import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { HuskError } from '../../../src/base/errors.ts';
import { type UndoStack, undoing } from '../../../src/base/undo.ts';
import type { CreateContainerRequest, CreateContainerResponse, PushedFile } from '../../../src/gen/agent/v1/agent.ts';
import { completeSpec, type SpecCompletion } from '../../../src/oci/complete-spec.ts';
import { type ProcessUser, resolveUser } from '../../../src/oci/resolve-user.ts';
import type { OciSpec } from '../../../src/oci/runtime-spec.ts';
import { checkUserIsMapped } from '../../../src/oci/user-namespace.ts';
import { Container } from '../container.ts';
import { addUndo, type Created, createdByRuntime, showBootId } from '../created.ts';
import { containerPlaces, podPlaces } from '../places.ts';
import { checkId, type Pod } from '../pod.ts';
import { mountRoot, unmountRoot } from '../rootfs.ts';
import { parseSpec } from '../spec.ts';
import type { Answer } from '../steps.ts';
import { prepareMounts, releaseMounts, type VolumeParts } from '../volumes/mounts.ts';

/** The paths under which the host names namespaces of the pod, and their files in /proc/PID/ns. */
const podNamespaces: ReadonlyMap<string, string> = new Map([
  ['/run/husk/ns/pid', 'pid'],
  ['/run/husk/ns/user', 'user'],
]);

/** CreateContainer: mounts, user, spec, then `create` of the OCI runtime. On error nothing is left. */
export function createContainer(pod: Pod, request: CreateContainerRequest): Promise<Answer<CreateContainerResponse>> {
  checkId(request.containerId);
  return pod.locks.run(request.containerId, () => undoing((undo) => create(pod, request, undo)));
}

async function create(
  pod: Pod,
  request: CreateContainerRequest,
  undo: UndoStack,
): Promise<Answer<CreateContainerResponse>> {
  const { containerId: id } = request;
  if (pod.configured === undefined)
    throw new HuskError('failed-precondition', `create container "${id}": the sandbox is not configured yet`);
  if (pod.containers.has(id)) throw new HuskError('already-exists', `create container "${id}": it is there already`);
  const hostSpec = parseSpec(request.specJson);
  const { folder } = containerPlaces(pod.settings, id);
  // Small files in memory, one call at a time: without promises the clone runs less code for the first time.
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (pod.ids !== undefined) letRootOfNamespacePass(pod, folder);
  undo.add('folder', () => rmSync(folder, { recursive: true, force: true }));
  undo.add('written layer', () => rmSync(containerPlaces(pod.settings, id).written, { recursive: true, force: true }));
  const userFiles = await mountRoot(pod, id, request.layers);
  undo.add('root file system', () => unmountRoot(pod, id, request.layers));
  const user = resolveUser(request.user ?? { user: '', supplementalGroups: [], strictGroups: false }, userFiles);
  if (pod.ids !== undefined) checkUserIsMapped(pod.ids, user);
  for (const volume of request.volumes) await pod.volumes.put(volume);
  undo.add('volume mounts', () => releaseMounts(pod, id, request.mounts));
  const parts = await prepareMounts(pod, id, request.mounts);
  const files = writeFiles(containerPlaces(pod.settings, id).filesFolder, request.files);
  const spec = withPodNamespaces(
    withDevices(completeSpec(hostSpec, { ...completion(pod, id, user, files), mounts: parts.mounts }), parts),
    await pod.pausePid(),
  );
  const container = await createProcess(pod, request, { spec, user }, undo);
  pod.containers.set(id, container);
  const { uid, gid, supplementalGroups } = user;
  return { user: { uid, gid, supplementalGroups } };
}

type WrittenFile = { readonly source: string; readonly file: PushedFile };

function writeFiles(folder: string, files: readonly PushedFile[]): WrittenFile[] {
  if (files.length > 0) mkdirSync(folder, { mode: 0o700 });
  return files.map((file, index) => {
    const source = `${folder}/${index}`;
    writeFileSync(source, file.content, { mode: file.mode & 0o777 });
    return { source, file };
  });
}

function completion(
  pod: Pod,
  id: string,
  user: ProcessUser,
  files: readonly WrittenFile[],
): Omit<SpecCompletion, 'mounts'> {
  const { hostnameFile, resolvConfFile, shmFolder } = podPlaces(pod.settings);
  return {
    user,
    rootfs: containerPlaces(pod.settings, id).rootfs,
    hostnameFile,
    resolvConfFile: pod.configured?.resolvConf === true ? resolvConfFile : '',
    shmFolder,
    files,
  };
}

function withDevices(spec: OciSpec, { devices, rules }: VolumeParts): OciSpec {
  if (devices.length === 0) return spec;
  const { resources } = spec.linux;
  const allowed = { ...resources, devices: [...resources.devices, ...rules] };
  return {
    ...spec,
    linux: { ...spec.linux, devices: [...(spec.linux.devices ?? []), ...devices], resources: allowed },
  };
}

function withPodNamespaces(spec: OciSpec, pausePid: number | undefined): OciSpec {
  const namespaces = spec.linux.namespaces.map((namespace) => {
    const file = podNamespaces.get(namespace.path ?? '');
    if (file === undefined) return namespace;
    if (pausePid === undefined)
      throw new HuskError('failed-precondition', `join the pod's ${namespace.type} namespace: the pod has none`);
    return { ...namespace, path: `/proc/${pausePid}/ns/${file}` };
  });
  return { ...spec, linux: { ...spec.linux, namespaces } };
}

/** The OCI runtime, already in the user namespace, looks for the root along this path; nothing else is shown by it. */
function letRootOfNamespacePass(pod: Pod, folder: string): void {
  const { stateDir } = pod.settings;
  for (const path of [stateDir, podPlaces(pod.settings).containersFolder, folder]) chmodSync(path, 0o711);
}

interface Made {
  readonly spec: OciSpec;
  readonly user: ProcessUser;
}

async function createProcess(
  pod: Pod,
  request: CreateContainerRequest,
  { spec, user }: Made,
  undo: UndoStack,
): Promise<Container> {
  const { containerId: id, layers, mounts } = request;
  const { folder } = containerPlaces(pod.settings, id);
  // A prepared one has neither standard input nor terminal.
  const fits = !request.stdin && !request.tty;
  const prepared = fits ? await pod.prepared?.become(id, spec, (target) => [showBootId(pod, target)]) : undefined;
  if (prepared !== undefined) addUndo(pod, undo, { ...prepared, runtimeId: prepared.target.id });
  const created = prepared ?? (await madeByRuntime(pod, request, spec, undo));
  const { target, exit, cgroup, start, streams, bundle, release } = created;
  const changed = (): void => pod.events.changed();
  const foreground = request.foreground === true;
  const parts = { id, target, start, user, layers, mounts, cgroup, folder, bundle, foreground, release, changed };
  return new Container({ ...parts, ...streams }, exit);
}

async function madeByRuntime(
  pod: Pod,
  request: CreateContainerRequest,
  spec: OciSpec,
  undo: UndoStack,
): Promise<Created> {
  writeFileSync(containerPlaces(pod.settings, request.containerId).spec, JSON.stringify(spec));
  const created = await createdByRuntime(pod, request, spec, undo);
  await pod.sys.run([showBootId(pod, created.target)]);
  return created;
}
