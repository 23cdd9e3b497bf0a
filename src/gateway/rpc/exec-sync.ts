import { HuskError } from '../../base/errors.ts';
import type { ExecSyncRequest, ExecSyncResponse } from '../../gen/gateway/v1/gateway.ts';
import type { Gateway } from '../gateway.ts';
import { maxExecSyncBytes } from '../limits.ts';
import { timeoutOf } from './reply.ts';

/** ExecSync: a command to its end; of each stream the first bytes are kept. */
export async function execSync(
  gateway: Gateway,
  request: ExecSyncRequest,
  signal: AbortSignal,
): Promise<ExecSyncResponse> {
  const { vmId, containerId, command, timeoutMs, maxOutputBytes } = request;
  if (timeoutMs !== 0n) timeoutOf(timeoutMs);
  if (maxOutputBytes < 0n)
    throw new HuskError('invalid-argument', `max_output_bytes "${maxOutputBytes}": must not be negative`);
  const maxBytes = Number(maxOutputBytes < BigInt(maxExecSyncBytes) ? maxOutputBytes : maxExecSyncBytes);
  return await gateway.vm(vmId).exec({ containerId, command, tty: false, timeoutMs }, maxBytes, signal);
}
