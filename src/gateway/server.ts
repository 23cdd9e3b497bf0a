/** Serves the gateway's protocol. */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { type GatewayServer, GatewayService } from '../gen/gateway/v1/gateway.ts';
import type { StreamingServer } from '../streaming/server.ts';
import type { Gateway } from './gateway.ts';
import { attachVm } from './rpc/attach-vm.ts';
import { call } from './rpc/call.ts';
import { detachVm } from './rpc/detach-vm.ts';
import { execSync } from './rpc/exec-sync.ts';
import { unary } from './rpc/reply.ts';
import { session } from './rpc/session.ts';
import { streamUrl } from './rpc/stream-url.ts';
import { version } from './rpc/version.ts';
import type { GatewaySettings } from './settings.ts';

/** CreateContainer carries files and a spec. */
const maxRequestBytes = 32 * 1024 * 1024;

/** What the RPCs are served from. */
export interface GatewayParts {
  readonly gateway: Gateway;
  readonly streaming: Pick<StreamingServer, 'url'>;
  readonly settings: GatewaySettings;
}

/**
 * Listens on the path, which must not exist yet. The caller's umask and folder decide who may connect.
 * @returns a function that ends all calls and closes the socket
 */
export async function serveGateway({ gateway, streaming, settings }: GatewayParts, path: string): Promise<() => void> {
  const server = new Server({
    'grpc.max_receive_message_length': maxRequestBytes,
    'grpc.max_send_message_length': -1,
    'grpc.enable_channelz': 0,
  });
  const handlers: GatewayServer = {
    version: unary(() => version(gateway, settings)),
    attachVm: unary((request, signal) => attachVm(gateway, request, signal)),
    detachVm: unary((request) => detachVm(gateway, request)),
    call: unary((request, signal) => call(gateway, request, signal)),
    execSync: unary((request, signal) => execSync(gateway, request, signal)),
    streamUrl: unary((request) => streamUrl({ gateway, streaming }, request)),
    session: (duplex) => session(gateway, duplex),
  };
  server.addService(GatewayService, handlers);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
    error === null ? resolve() : reject(error),
  );
  await promise;
  return () => server.forceShutdown();
}
