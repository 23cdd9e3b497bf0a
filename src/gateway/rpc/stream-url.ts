import { HuskError } from '../../base/errors.ts';
import type { StreamUrlRequest, StreamUrlResponse } from '../../gen/gateway/v1/gateway.ts';
import type { StreamingServer, Ticket } from '../../streaming/server.ts';
import type { Gateway } from '../gateway.ts';
import { nativeStreamingRuntime } from '../streams/native-runtime.ts';

/** StreamUrl: a URL for one client. Whether the container is there is found out when the client comes. */
export function streamUrl(
  { gateway, streaming }: { readonly gateway: Gateway; readonly streaming: Pick<StreamingServer, 'url'> },
  { vmId, kind, nativeFolder }: StreamUrlRequest,
): StreamUrlResponse {
  if (kind === undefined) throw new HuskError('invalid-argument', 'kind: must be set');
  const ticket = ticketOf(vmId, kind);
  if (nativeFolder !== '') return { url: streaming.url(ticket, nativeStreamingRuntime(nativeFolder)) };
  gateway.vm(vmId);
  return { url: streaming.url(ticket) };
}

function ticketOf(sandboxId: string, kind: NonNullable<StreamUrlRequest['kind']>): Ticket {
  if (kind.$case === 'portForward') return { route: 'portforward', sandboxId };
  return { route: kind.$case, target: { sandboxId, ...kind.value } };
}
