import {
  Container,
  ContainerState,
  type ListContainersRequest,
  type ListContainersResponse,
  type ContainerFilter as WireFilter,
} from '../gen/cri/v1/api.ts';
import type { ImageStore } from '../images/image-store.ts';
import type { ContainerRecord } from '../pod/records.ts';
import { labels, member } from '../pod/validate/check.ts';
import type { CriContext } from './context.ts';
import { type Encoded, EncodedEntries } from './encoded.ts';
import { fromContainerState, hasOwnName, imageSpecOf, toContainerState } from './to-cri.ts';

/** ListContainers: every part of the filter that is set must hold; nothing found is no error. */
export function listContainers(
  { engine, images }: Pick<CriContext, 'engine' | 'images'>,
  request: ListContainersRequest,
): Encoded<ListContainersResponse> {
  return entries.of(recordsFor(engine, request.filter), {
    encode: (record) => Container.encode(itemOf(record, images)).finish(),
    isLasting: hasOwnName,
  });
}

const entries = new EncodedEntries<ContainerRecord>();

/** The containers that pass the filter, as CRI lists them. */
export function findContainers(
  { engine, images }: Pick<CriContext, 'engine' | 'images'>,
  filter: WireFilter | undefined,
): Container[] {
  return recordsFor(engine, filter).map((record) => itemOf(record, images));
}

function recordsFor(engine: CriContext['engine'], filter: WireFilter | undefined): ContainerRecord[] {
  const wireState = filter?.state?.state;
  checkFilter(filter);
  const state = wireState === undefined ? undefined : fromContainerState(wireState);
  // A state that no container can have.
  if (wireState !== undefined && state === undefined) return [];
  return engine.containers.list({
    id: filter?.id ?? '',
    sandboxId: filter?.podSandboxId ?? '',
    state,
    labels: filter?.labelSelector ?? {},
  });
}

function checkFilter(filter: WireFilter | undefined): void {
  if (filter?.state !== undefined) member('filter.state.state', filter.state.state, ContainerState);
  labels('filter.label_selector', filter?.labelSelector ?? {});
}

function itemOf(record: ContainerRecord, images: Pick<ImageStore, 'get'>): Container {
  return {
    id: record.id,
    podSandboxId: record.sandboxId,
    metadata: record.metadata,
    image: imageSpecOf(record, images),
    imageRef: record.imageId,
    state: toContainerState(record),
    createdAt: BigInt(record.createdAtNs),
    labels: record.labels,
    annotations: record.annotations,
    imageId: record.imageId,
  };
}
