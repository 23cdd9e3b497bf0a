/**
 * A gRPC server for the agent: the wire of gRPC over HTTP/2 with little code behind it. What a clone runs for the
 * first time costs it more than what it does (docs/adr/0062), and grpc-js over node:http2 is a lot.
 */
import { createServer, type Server } from 'node:net';
import { HuskError } from '../../../src/base/errors.ts';
import { type Call, type Callback, type Method, statusCodes } from './call.ts';
import { Session } from './session.ts';

export interface GrpcOptions {
  /** Path of the UNIX socket. */
  readonly path: string;
  /** Largest message that is taken, in bytes. */
  readonly maxMessageBytes: number;
}

/** Methods and handlers by the same names, as ts-proto writes them for grpc-js. */
export interface Service {
  readonly definition: Readonly<Record<string, Method>>;
  readonly handlers: Readonly<Record<string, unknown>>;
}

/**
 * Listens and serves.
 * @throws HuskError `internal` when the socket cannot be made
 */
export async function serveGrpc(options: GrpcOptions, service: Service): Promise<Server> {
  const { path, maxMessageBytes } = options;
  const methods = new Map(
    Object.entries(service.definition).map(([name, method]) => [
      method.path,
      { method, handler: service.handlers[name] as (call: Call, callback: Callback) => void },
    ]),
  );
  const route = (call: Call, called: string): void => {
    const found = methods.get(called);
    if (found === undefined) call.refuse({ code: statusCodes.unimplemented, details: `no method "${called}"` });
    else call.serve(found.method, maxMessageBytes, found.handler);
  };
  const server = createServer((socket) => void new Session(socket, route));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject).listen(path, resolve);
  await promise.catch((cause: unknown) => {
    throw new HuskError('internal', `listen on "${path}": ${String(cause)}`, { cause });
  });
  return server;
}
