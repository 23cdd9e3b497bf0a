import { HuskError } from '../base/errors.ts';
import type { ExecSyncRequest, ExecSyncResponse } from '../gen/cri/v1/api.ts';
import { refuse } from '../pod/validate/check.ts';
import { checkWords } from '../pod/validate/container-config.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';

/** What clients in Go accept of one message, less what surrounds the two streams in it. */
const answerBudgetBytes = 16 * 1024 * 1024 - 4096;

/** ExecSync: the command's output and exit code, also when it failed; DeadlineExceeded when it was killed at its timeout. */
export async function execSync(
  { engine }: Pick<CriContext, 'engine'>,
  request: ExecSyncRequest,
  signal: AbortSignal,
): Promise<ExecSyncResponse> {
  const id = requireId('container_id', request.containerId);
  if (request.cmd.length === 0) throw new HuskError('invalid-argument', 'cmd: empty, wanted a command');
  checkWords('cmd', request.cmd);
  if (request.timeout < 0n) refuse('timeout', request.timeout, 'wanted seconds, zero or more');
  const result = await engine.containers.execSync(id, request.cmd, Number(request.timeout), signal);
  return { ...fit(result.stdout, result.stderr, answerBudgetBytes), exitCode: result.exitCode };
}

/**
 * Cuts two streams to a budget, from the end of the longer one: an answer larger than the client
 * takes would be an error there, and a cut one is not.
 */
export function fit(
  stdout: Uint8Array,
  stderr: Uint8Array,
  budget: number,
): { stdout: Buffer<ArrayBufferLike>; stderr: Buffer<ArrayBufferLike> } {
  const half = Math.floor(budget / 2);
  const outBytes = Math.min(stdout.length, Math.max(half, budget - stderr.length));
  const errBytes = Math.min(stderr.length, budget - outBytes);
  return { stdout: Buffer.from(stdout.subarray(0, outBytes)), stderr: Buffer.from(stderr.subarray(0, errBytes)) };
}
