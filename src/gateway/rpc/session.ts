import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { SessionEvent, SessionRequest } from '../../gen/gateway/v1/gateway.ts';
import type { Gateway, SessionSink } from '../gateway.ts';

/** Session: events to huskd, acknowledgements from it. A new session ends the one before. */
export function session(gateway: Gateway, call: ServerDuplexStream<SessionRequest, SessionEvent>): void {
  const sink: SessionSink = {
    write: (event) => call.write(event),
    replaced: () => call.end(),
  };
  const over = (): void => gateway.closeSession(sink);
  call.on('data', (request: SessionRequest) => gateway.receive(request));
  call.on('drain', () => gateway.flush(true));
  call.on('cancelled', over);
  call.on('error', over);
  call.on('end', () => {
    over();
    call.end();
  });
  gateway.openSession(sink);
}
