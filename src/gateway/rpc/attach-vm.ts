import { HuskError } from '../../base/errors.ts';
import type { AttachVmRequest, AttachVmResponse } from '../../gen/gateway/v1/gateway.ts';
import type { Gateway } from '../gateway.ts';
import { isLinkKey } from '../link/handshake.ts';
import { timeoutOf } from './reply.ts';

/** AttachVm: a new link with a new stream of events, from the offsets given. */
export async function attachVm(
  gateway: Gateway,
  request: AttachVmRequest,
  signal: AbortSignal,
): Promise<AttachVmResponse> {
  const { vmId, socket, linkKey, resume, generation, configure } = request;
  if (vmId === '') throw new HuskError('invalid-argument', 'vm_id "": must not be empty');
  if (!socket.startsWith('/')) throw new HuskError('invalid-argument', `socket "${socket}": want an absolute path`);
  if (!isLinkKey(linkKey)) throw new HuskError('invalid-argument', 'link_key: want 16 lower-case hex digits');
  const timeoutMs = timeoutOf(request.timeoutMs);
  const vm = { id: vmId, socket, linkKey, generation };
  if (configure !== undefined)
    return { hello: undefined, configured: await gateway.attachNew({ ...vm, configure }, timeoutMs, signal) };
  return { hello: await gateway.attach({ ...vm, resume }, timeoutMs, signal), configured: undefined };
}
