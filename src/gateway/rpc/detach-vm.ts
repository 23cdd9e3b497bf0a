import type { DetachVmRequest, DetachVmResponse } from '../../gen/gateway/v1/gateway.ts';
import type { Gateway } from '../gateway.ts';

/** DetachVm: closes the link; unknown is success. */
export function detachVm(gateway: Gateway, request: DetachVmRequest): DetachVmResponse {
  gateway.detach(request.vmId);
  return {};
}
