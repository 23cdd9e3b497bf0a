import { HuskError } from '../base/errors.ts';
import type { ExecRequest, ExecResponse } from '../gen/cri/v1/api.ts';
import { checkWords } from '../pod/validate/container-config.ts';
import type { CriContext } from './context.ts';
import { requireId } from './ids.ts';
import { checkStreams } from './stream-fields.ts';

/** Exec: a URL at which a client runs a command in a running container. */
export async function exec(
  { engine }: Pick<CriContext, 'engine'>,
  request: ExecRequest,
  signal: AbortSignal,
): Promise<ExecResponse> {
  const id = requireId('container_id', request.containerId);
  if (request.cmd.length === 0) throw new HuskError('invalid-argument', 'cmd: empty, wanted a command');
  checkWords('cmd', request.cmd);
  const wish = { route: 'exec' as const, command: request.cmd, ...checkStreams(request) };
  return { url: await engine.containers.streamUrl(id, wish, signal) };
}
