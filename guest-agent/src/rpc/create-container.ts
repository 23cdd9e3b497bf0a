import { closeSync, readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { HuskError } from '../../../src/base/errors.ts';
import { type UndoStack, undoing } from '../../../src/base/undo.ts';
import type { CreateContainerRequest, CreateContainerResponse, PushedFile } from '../../../src/gen/agent/v1/agent.ts';
import type { OciSpec } from '../../../src/oci/runtime-spec.ts';
import { Container } from '../container.ts';
import { closeWriters } from '../fifos.ts';
import { OutputStream } from '../output-stream.ts';
import { containerPlaces, podPlaces } from '../places.ts';
import { checkId, type Pod } from '../pod.ts';
import { completeSpec, parseSpec } from '../spec.ts';
import { op, type SysOp, type SysResult, tryOp } from '../sys-batch.ts';
import { type ProcessUser, resolveUser } from '../user.ts';

/** The image's passwd and group files are hostile: beyond this they are taken as absent (CVE-2026-47262). */
const maxUserFileBytes = 1024 * 1024;
/** The path under which the host names the pod's shared PID namespace. */
const sharedPidNamespace = '/run/husk/ns/pid';

/** CreateContainer: mounts, user, spec, then `create` of the OCI runtime. On error nothing is left. */
export function createContainer(pod: Pod, request: CreateContainerRequest): Promise<CreateContainerResponse> {
  return undoing(async (undo) => {
    const { containerId: id } = request;
    checkId(id);
    if (!pod.configured) throw new HuskError('failed-precondition', `create container "${id}": the sandbox is not configured yet`);
    if (pod.containers.has(id)) throw new HuskError('already-exists', `create container "${id}": it is there already`);
    if (request.tty) throw new HuskError('unimplemented', `create container "${id}": terminals are not there yet`);
    const hostSpec = parseSpec(request.specJson);
    const userFiles = await mountRoot(pod, request, undo);
    const user = resolveUser(request.user ?? { user: '', supplementalGroups: [], strictGroups: false }, userFiles);
    const files = await writeFiles(containerPlaces(pod.settings, id).filesFolder, request.files);
    const spec = withSharedPid(completeSpec(hostSpec, completion(pod, id, user, files)), pod.pausePid);
    await writeFile(containerPlaces(pod.settings, id).spec, JSON.stringify(spec));
    const container = await createProcess(pod, request, { spec, user }, undo);
    await showBootId(pod, container);
    pod.containers.set(id, container);
    const { uid, gid, supplementalGroups } = user;
    return { user: { uid, gid, supplementalGroups } };
  });
}

/** Mounts the layers and the overlay, and reads the image's user files, in one batch. */
async function mountRoot(pod: Pod, request: CreateContainerRequest, undo: UndoStack): Promise<{ passwd: string | undefined; group: string | undefined }> {
  const { containerId, layers } = request;
  const places = containerPlaces(pod.settings, containerId);
  await mkdir(places.folder, { recursive: true, mode: 0o700 });
  undo.add('folder', () => rm(places.folder, { recursive: true, force: true }));
  await mkdir(places.upper, { recursive: true, mode: 0o755 });
  await mkdir(places.work, { mode: 0o700 });
  await mkdir(places.rootfs, { mode: 0o755 });
  undo.add('written layer', () => rm(places.written, { recursive: true, force: true }));
  const plan = pod.layers.take(layers);
  undo.add('mounts', async () => {
    await pod.sys.run([tryOp('umount', places.rootfs), ...pod.layers.giveBack(layers).ops]);
  });
  const ops: SysOp[] = [
    ...plan.ops,
    op('chdir', podPlaces(pod.settings).layersFolder),
    overlay(plan.folders, places),
    op('chdir', '/'),
    ...(['/etc/passwd', '/etc/group'] as const).map((path) => tryOp('read', places.rootfs, path, String(maxUserFileBytes))),
  ];
  const results = await pod.sys.run(ops);
  return { passwd: textOf(results.at(-2)), group: textOf(results.at(-1)) };
}

/** Overlayfs takes the uppermost layer first. An image without layers is an empty root. */
function overlay(folders: readonly string[], places: { readonly rootfs: string; readonly upper: string; readonly work: string }): SysOp {
  if (folders.length === 0) return op('mount', places.upper, places.rootfs, '', 'bind', '');
  const lower = [...folders].reverse().join(':');
  return op('mount', 'overlay', places.rootfs, 'overlay', 'nodev', `lowerdir=${lower},upperdir=${places.upper},workdir=${places.work}`);
}

function textOf(result: SysResult | undefined): string | undefined {
  return result?.ok ? result.bytes.toString('utf8') : undefined;
}

type WrittenFile = { readonly source: string; readonly file: PushedFile };

async function writeFiles(folder: string, files: readonly PushedFile[]): Promise<WrittenFile[]> {
  if (files.length > 0) await mkdir(folder, { mode: 0o700 });
  return Promise.all(
    files.map(async (file, index) => {
      const source = `${folder}/${index}`;
      await writeFile(source, file.content, { mode: file.mode & 0o777 });
      return { source, file };
    }),
  );
}

function completion(pod: Pod, id: string, user: ProcessUser, files: readonly WrittenFile[]): Parameters<typeof completeSpec>[1] {
  const { hostnameFile, resolvConfFile, shmFolder } = podPlaces(pod.settings);
  return {
    user,
    rootfs: containerPlaces(pod.settings, id).rootfs,
    hostnameFile,
    resolvConfFile: pod.hasResolvConf ? resolvConfFile : '',
    shmFolder,
    files,
  };
}

function withSharedPid(spec: OciSpec, pausePid: number | undefined): OciSpec {
  const namespaces = spec.linux.namespaces.map((namespace) => {
    if (namespace.path !== sharedPidNamespace) return namespace;
    if (pausePid === undefined) throw new HuskError('failed-precondition', 'join the shared PID namespace: the pod has none');
    return { ...namespace, path: `/proc/${pausePid}/ns/pid` };
  });
  return { ...spec, linux: { ...spec.linux, namespaces } };
}

interface Made {
  readonly spec: OciSpec;
  readonly user: ProcessUser;
}

async function createProcess(pod: Pod, request: CreateContainerRequest, { spec, user }: Made, undo: UndoStack): Promise<Container> {
  const { containerId: id, layers } = request;
  const places = containerPlaces(pod.settings, id);
  const fifos = await pod.fifos.open(2);
  const [out, err] = fifos;
  if (out === undefined || err === undefined) throw new HuskError('internal', 'open the output of a container: no FIFOs');
  const stdinFd = request.stdin ? await pod.fifos.openIdleInput() : undefined;
  undo.add('runtime', () => pod.runtime.delete(id));
  undo.add('output', () => {
    out.output.destroy();
    err.output.destroy();
    if (stdinFd !== undefined) closeSync(stdinFd);
  });
  return pod.exits.expect(async () => {
    try {
      const stdio = [stdinFd ?? 'ignore', out.writeFd, err.writeFd] as const;
      await pod.runtime.create({ id, bundle: places.folder, pidFile: places.pidFile }, stdio);
    } finally {
      closeWriters(fifos);
    }
    const pid = Number(readFileSync(places.pidFile, 'latin1'));
    const changed = (): void => pod.events.changed();
    const cgroup = `${pod.settings.cgroupRoot}${spec.linux.cgroupsPath}`;
    const [stdout, stderr] = [new OutputStream(out.output, changed), new OutputStream(err.output, changed)];
    const parts = { id, pid, spec, user, layers, cgroup, folder: places.folder, stdout, stderr, stdinFd, changed };
    return new Container(parts, pod.exits.exitOf(pid));
  });
}

/** Every clone has the template's boot id in its kernel: containers see one of their own. */
async function showBootId(pod: Pod, container: Container): Promise<void> {
  const { bootIdFile } = podPlaces(pod.settings);
  await pod.sys.run([tryOp('procfile', String(container.parts.pid), bootIdFile, '/proc/sys/kernel/random/boot_id')]);
}
