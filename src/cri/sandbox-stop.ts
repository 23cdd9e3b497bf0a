import type { StopPodSandboxRequest, StopPodSandboxResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';

/** StopPodSandbox: idempotent, and a success for a pod that is not known. */
export async function stopPodSandbox(
  { engine }: Pick<CriContext, 'engine'>,
  request: StopPodSandboxRequest,
  signal: AbortSignal,
): Promise<StopPodSandboxResponse> {
  await engine.sandboxes.stop(requireId('pod_sandbox_id', request.podSandboxId), signal);
  return {};
}
