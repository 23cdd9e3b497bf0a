import type { StreamContainersRequest, StreamContainersResponse } from '../gen/cri/v1/api.ts';
import { batches } from './batches.ts';
import { findContainers } from './container-list.ts';
import type { CriContext } from './context.ts';

/** StreamContainers: ListContainers in messages of bounded size. */
export async function* streamContainers(
  context: Pick<CriContext, 'engine' | 'images'>,
  request: StreamContainersRequest,
): AsyncGenerator<StreamContainersResponse> {
  for (const containers of batches(findContainers(context, request.filter))) yield { containers };
}
