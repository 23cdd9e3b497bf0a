import type { PortForwardRequest, PortForwardResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';

/** PortForward: a URL at which a client reaches ports of the pod. Which ones, each stream of the client says. */
export async function portForward(
  { engine }: Pick<CriContext, 'engine'>,
  request: PortForwardRequest,
  signal: AbortSignal,
): Promise<PortForwardResponse> {
  const id = requireId('pod_sandbox_id', request.podSandboxId);
  return { url: await engine.sandboxes.portForwardUrl(id, signal) };
}
