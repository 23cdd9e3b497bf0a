import type { RemovePodSandboxRequest, RemovePodSandboxResponse } from '../gen/cri/v1/api.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';

/** RemovePodSandbox: idempotent, takes containers along by force, and a success for a pod that is not known. */
export async function removePodSandbox(
  { engine }: Pick<CriContext, 'engine'>,
  request: RemovePodSandboxRequest,
  signal: AbortSignal,
): Promise<RemovePodSandboxResponse> {
  await engine.sandboxes.remove(requireId('pod_sandbox_id', request.podSandboxId), signal);
  return {};
}
