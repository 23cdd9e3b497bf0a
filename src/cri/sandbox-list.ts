import {
  type ListPodSandboxRequest,
  type ListPodSandboxResponse,
  PodSandbox,
  type PodSandboxFilter,
  PodSandboxState,
} from '../gen/cri/v1/api.ts';
import type { SandboxFilter } from '../pod/filter.ts';
import type { SandboxRecord } from '../pod/records.ts';
import { labels, member } from '../pod/validate/check.ts';
import type { CriContext } from './context.ts';
import { type Encoded, EncodedEntries } from './encoded.ts';
import { toSandboxState } from './to-cri.ts';

/** ListPodSandbox: every part of the filter that is set must hold; nothing found is no error. */
export function listPodSandbox(
  { engine }: Pick<CriContext, 'engine'>,
  request: ListPodSandboxRequest,
): Encoded<ListPodSandboxResponse> {
  const records = engine.sandboxes.list(filterOf(request.filter));
  return entries.of(records, { encode: (record) => PodSandbox.encode(itemOf(record)).finish() });
}

const entries = new EncodedEntries<SandboxRecord>();

/** The pods that pass the filter, as CRI lists them. */
export function findSandboxes(
  { engine }: Pick<CriContext, 'engine'>,
  filter: PodSandboxFilter | undefined,
): PodSandbox[] {
  return engine.sandboxes.list(filterOf(filter)).map(itemOf);
}

function filterOf(filter: PodSandboxFilter | undefined): SandboxFilter {
  const state = filter?.state?.state;
  if (state !== undefined) member('filter.state.state', state, PodSandboxState);
  labels('filter.label_selector', filter?.labelSelector ?? {});
  const wanted = state === PodSandboxState.SANDBOX_READY ? 'ready' : 'not-ready';
  return { id: filter?.id ?? '', state: state === undefined ? undefined : wanted, labels: filter?.labelSelector ?? {} };
}

function itemOf(record: SandboxRecord): PodSandbox {
  return {
    id: record.id,
    metadata: record.metadata,
    state: toSandboxState(record.status.phase),
    createdAt: BigInt(record.createdAtNs),
    labels: record.labels,
    annotations: record.annotations,
    runtimeHandler: record.runtimeHandler,
  };
}
