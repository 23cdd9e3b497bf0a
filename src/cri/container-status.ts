import {
  ContainerConfig,
  type ContainerStatus,
  type ContainerStatusRequest,
  type ContainerStatusResponse,
  type Mount,
} from '../gen/cri/v1/api.ts';
import type { ImageStore } from '../images/image-store.ts';
import { resourcesOf } from '../pod/container-resources.ts';
import type { ContainerRecord } from '../pod/records.ts';
import { signalValue } from '../pod/stop-signal.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';
import { imageSpecOf, toContainerState } from './to-cri.ts';

/** ContainerStatus. */
export function containerStatus(
  { engine, images }: Pick<CriContext, 'engine' | 'images'>,
  request: ContainerStatusRequest,
): ContainerStatusResponse {
  const record = engine.containers.get(requireId('container_id', request.containerId));
  return { status: containerStatusOf(record, images), info: request.verbose ? verbose(record) : {} };
}

/** A container as it stands. One identifier of the image everywhere: its config digest. */
export function containerStatusOf(record: ContainerRecord, images: Pick<ImageStore, 'get'>): ContainerStatus {
  const config = configOf(record);
  const { status } = record;
  return {
    id: record.id,
    metadata: record.metadata,
    state: toContainerState(record),
    createdAt: BigInt(record.createdAtNs),
    startedAt: BigInt(status.startedAtNs),
    finishedAt: BigInt(status.finishedAtNs),
    exitCode: status.exitCode,
    image: imageSpecOf(record, images),
    imageRef: record.imageId,
    reason: status.reason,
    message: status.message,
    labels: record.labels,
    annotations: record.annotations,
    mounts: config.mounts.map((mount) => withImageRef(mount, images)),
    logPath: record.logPath,
    resources: { linux: resourcesOf(record), windows: undefined },
    imageId: record.imageId,
    user: userOf(record),
    stopSignal: signalValue(record.stopSignal),
  };
}

/** As it was asked, and of an image the digest that it was found to have (KEP-5365). */
function withImageRef(mount: Mount, images: Pick<ImageStore, 'get'>): Mount {
  const { image } = mount;
  if (image === undefined || image.image === '') return mount;
  return { ...mount, image: { ...image, imageRef: images.get(image.image)?.id ?? '' } };
}

function userOf({ status: { user } }: ContainerRecord): ContainerStatus['user'] {
  if (user === null) return undefined;
  const { uid, gid, supplementalGroups } = user;
  return { linux: { uid: BigInt(uid), gid: BigInt(gid), supplementalGroups: supplementalGroups.map(BigInt) } };
}

function verbose(record: ContainerRecord): Record<string, string> {
  return {
    sandboxID: JSON.stringify(record.sandboxId),
    removing: JSON.stringify(record.status.removing),
    config: JSON.stringify(ContainerConfig.toJSON(configOf(record))),
  };
}

function configOf(record: ContainerRecord): ContainerConfig {
  return ContainerConfig.decode(Buffer.from(record.configBase64, 'base64'));
}
