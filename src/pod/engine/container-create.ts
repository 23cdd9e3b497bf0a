import { join } from 'node:path';
import { HuskError } from '../../base/errors.ts';
import { type ContainerId, newContainerId } from '../../base/ids.ts';
import { ContainerConfig, PodSandboxConfig } from '../../gen/cri/v1/api.ts';
import { intendedStatus } from '../container-state.ts';
import type { Image } from '../image-view.ts';
import type { ContainerRecord, SandboxRecord } from '../records.ts';
import { canHoldContainers } from '../sandbox-state.ts';
import { stopSignalOf } from '../stop-signal.ts';
import { checkContainerUserNamespace, userNamespaceOf } from '../user-namespace.ts';
import { bounded } from './bounded.ts';
import { type EngineCore, inTurn, removeContainerFully } from './core.ts';
import { runtimeOf } from './runtimes.ts';

/** Below the two minutes that a kubelet gives the call. */
const createMs = 100_000;

/** CreateContainer: checks what only the records know, writes the intent, lets the runtime make it. */
export async function createContainer(
  core: EngineCore,
  sandboxIdOrPrefix: string,
  config: ContainerConfig,
  signal: AbortSignal,
): Promise<ContainerId> {
  const known = findReady(core, sandboxIdOrPrefix);
  return await inTurn(core, { key: known.id, what: 'CreateContainer', signal }, async () => {
    const sandbox = findReady(core, known.id);
    const pod = PodSandboxConfig.decode(Buffer.from(sandbox.configBase64, 'base64'));
    checkPrivileges(config, pod);
    checkContainerUserNamespace(config, userNamespaceOf(pod.linux?.securityContext?.namespaceOptions));
    const image = findImage(core, config);
    const volumeImages = findVolumeImages(core, config);
    await clearLeftover(core, sandbox, config);
    const record = newRecord(core, sandbox, config, { image, logDirectory: pod.logDirectory });
    core.store.addContainer(record);
    try {
      core.images.hold(image.id, record.id);
      const { user } = await bounded('CreateContainer', createMs, signal, (inner) =>
        runtimeOf(core.runtimes, sandbox.runtime).createContainer(
          sandbox,
          record,
          { config, image, volumeImages },
          inner,
        ),
      );
      core.store.patchContainer(record.id, { user, intended: false });
    } catch (caught) {
      await undo(core, sandbox, record);
      throw caught;
    }
    core.log.info({ sandbox: sandbox.id, container: record.id }, 'container is created');
    return record.id;
  });
}

function findReady(core: EngineCore, idOrPrefix: string): SandboxRecord {
  const sandbox = core.store.findSandbox(idOrPrefix);
  if (sandbox === undefined || sandbox.status.phase === 'intended') {
    throw new HuskError(
      'not-found',
      `find pod sandbox ${JSON.stringify(idOrPrefix.slice(0, 64))}: no such pod sandbox`,
    );
  }
  if (!canHoldContainers(sandbox.status.phase)) {
    const why = sandbox.status.reason === '' ? '' : ` (${sandbox.status.reason})`;
    throw new HuskError(
      'failed-precondition',
      `create a container in pod sandbox "${sandbox.id}": ${sandbox.status.phase}${why}, wanted ready`,
    );
  }
  return sandbox;
}

/** The pod was routed by what it said of itself; a container may not ask for more. */
function checkPrivileges(config: ContainerConfig, pod: PodSandboxConfig): void {
  const wants = config.linux?.securityContext?.privileged === true;
  if (!wants || pod.linux?.securityContext?.privileged === true) return;
  throw new HuskError(
    'invalid-argument',
    'config.linux.security_context.privileged "true": the pod was not made privileged, as CRI demands of a pod with such a container',
  );
}

function findImage(core: EngineCore, config: ContainerConfig): Image {
  const name = config.image?.image ?? '';
  const image = core.images.get(name);
  if (image !== undefined) return image;
  throw new HuskError('not-found', `find image "${name}" of a container: not on this node`, { hint: 'pull it first' });
}

/**
 * The images that are mounted as volumes. Every error of theirs begins with the word that the kubelet
 * looks for (kubernetes/pkg/kubelet/kuberuntime: ErrImageVolumeMountFailed).
 */
function findVolumeImages(core: EngineCore, { mounts }: ContainerConfig): Map<string, Image> {
  const found = new Map<string, Image>();
  for (const { image: spec, containerPath, readonly } of mounts) {
    if (spec === undefined || spec.image === '') continue;
    const where = `ImageVolumeMountFailed: config.mounts "${containerPath.slice(0, 200)}"`;
    if (!readonly) throw new HuskError('invalid-argument', `${where}: an image is mounted read-only, wanted readonly`);
    const image = core.images.get(spec.image);
    if (image === undefined)
      throw new HuskError('not-found', `${where}: image "${spec.image.slice(0, 200)}" is not on this node`, {
        hint: 'pull it first',
      });
    found.set(spec.image, image);
  }
  return found;
}

/** A half-made container whose undo failed still holds its name: finish the undo, for the caller tries again. */
async function clearLeftover(core: EngineCore, sandbox: SandboxRecord, config: ContainerConfig): Promise<void> {
  const leftover = core.store.containerNamed(sandbox.id, metadataOf(config));
  if (leftover?.status.intended === true) await removeContainerFully(core, sandbox, leftover);
}

async function undo(core: EngineCore, sandbox: SandboxRecord, record: ContainerRecord): Promise<void> {
  try {
    await removeContainerFully(core, sandbox, record);
  } catch (caught) {
    // The record stays as intended: the next CreateContainer of the name, or the pod's removal, finishes.
    core.log.error({ container: record.id, err: caught }, 'what was made of a container could not be taken away');
  }
}

function newRecord(
  core: EngineCore,
  sandbox: SandboxRecord,
  config: ContainerConfig,
  from: { readonly image: Image; readonly logDirectory: string },
): ContainerRecord {
  const wantsLog = from.logDirectory !== '' && config.logPath !== '';
  return {
    version: 1,
    id: newContainerId(),
    sandboxId: sandbox.id,
    metadata: metadataOf(config),
    labels: config.labels,
    annotations: config.annotations,
    configBase64: Buffer.from(ContainerConfig.encode(config).finish()).toString('base64'),
    imageId: from.image.id,
    imageName: config.image?.userSpecifiedImage || (config.image?.image ?? ''),
    stopSignal: stopSignalOf(config.stopSignal, from.image.config.stopSignal),
    logPath: wantsLog ? join(from.logDirectory, config.logPath) : '',
    createdAtNs: core.clock.wallNs().toString(),
    status: intendedStatus,
  };
}

function metadataOf(config: ContainerConfig): ContainerRecord['metadata'] {
  return { name: config.metadata?.name ?? '', attempt: config.metadata?.attempt ?? 0 };
}
