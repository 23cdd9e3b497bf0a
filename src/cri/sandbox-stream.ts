import type { StreamPodSandboxesRequest, StreamPodSandboxesResponse } from '../gen/cri/v1/api.ts';
import { batches } from './batches.ts';
import type { CriContext } from './context.ts';
import { findSandboxes } from './sandbox-list.ts';

/** StreamPodSandboxes: ListPodSandbox in messages of bounded size. */
export async function* streamPodSandboxes(
  context: Pick<CriContext, 'engine'>,
  request: StreamPodSandboxesRequest,
): AsyncGenerator<StreamPodSandboxesResponse> {
  for (const podSandboxes of batches(findSandboxes(context, request.filter))) yield { podSandboxes };
}
