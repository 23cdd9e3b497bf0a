import { HuskError } from '../../base/errors.ts';
import type { AttachVmRequest, AttachVmResponse } from '../../gen/gateway/v1/gateway.ts';
import type { Gateway } from '../gateway.ts';
import { timeoutOf } from './reply.ts';

/** AttachVm: a new link with a new stream of events, from the offsets given. */
export async function attachVm(
  gateway: Gateway,
  request: AttachVmRequest,
  signal: AbortSignal,
): Promise<AttachVmResponse> {
  const { vmId, socket, resume, generation } = request;
  if (vmId === '') throw new HuskError('invalid-argument', 'vm_id "": must not be empty');
  if (!socket.startsWith('/')) throw new HuskError('invalid-argument', `socket "${socket}": want an absolute path`);
  return {
    hello: await gateway.attach({ id: vmId, socket, resume, generation }, timeoutOf(request.timeoutMs), signal),
  };
}
