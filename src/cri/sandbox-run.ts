import type { RunPodSandboxRequest, RunPodSandboxResponse } from '../gen/cri/v1/api.ts';
import { checkSandboxConfig } from '../pod/validate/sandbox-config.ts';
import type { CriContext } from './context.ts';

/** RunPodSandbox: ready with its network when this returns, or nothing of it is left. */
export async function runPodSandbox(
  { engine }: Pick<CriContext, 'engine'>,
  request: RunPodSandboxRequest,
  signal: AbortSignal,
): Promise<RunPodSandboxResponse> {
  const config = checkSandboxConfig(request.config);
  return { podSandboxId: await engine.sandboxes.run(config, request.runtimeHandler, signal) };
}
