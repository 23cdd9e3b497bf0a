import type { AttachRequest, AttachResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';
import { checkStreams } from './stream-fields.ts';

/** Attach: a URL at which a client joins the streams of a running container. */
export async function attach(
  { engine }: Pick<CriContext, 'engine'>,
  request: AttachRequest,
  signal: AbortSignal,
): Promise<AttachResponse> {
  const id = requireId('container_id', request.containerId);
  const wish = { route: 'attach' as const, command: [], ...checkStreams(request) };
  return { url: await engine.containers.streamUrl(id, wish, signal) };
}
