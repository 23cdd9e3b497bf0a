/** The CRI server: gRPC over a UNIX socket that only its owner can connect to. */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { withDeadline } from '../base/deadline.ts';
import { HuskError } from '../base/errors.ts';
import type { CriContext } from './context.ts';
import { podOf } from './pod-of.ts';
import { imageService, runtimeService } from './services.ts';
import { closeToOthers, prepareSocketPath } from './socket.ts';

/**
 * Requests: a config with the largest maps that validation lets through fits. A compressed one is
 * measured while it is unpacked (CVE-2024-37168); husk itself compresses nothing.
 */
const maxReceiveBytes = 16 * 1024 * 1024;
/** Answers: lists on a full node; clients in Go take 16 MiB, ExecSync keeps below by itself. */
const maxSendBytes = 64 * 1024 * 1024;
/** How long calls that are under way may take to end after their signal has fired. */
const closeMs = 10_000;

export interface CriServer {
  /**
   * Starts to serve on a UNIX socket: 0600, in a folder of 0700 that is made if need be; a stale
   * socket is replaced. May be called for several paths.
   *
   * @param path absolute, without `unix://`
   * @throws HuskError `invalid-argument`, `failed-precondition`, `already-exists`
   */
  listen(path: string): Promise<void>;
  /** Takes no more calls, cancels those under way, waits for them a while. */
  close(): Promise<void>;
}

/** Builds the server. Nothing listens until `listen`; call the engine's `recover` before it. */
export function createCriServer(context: CriContext): CriServer {
  const closing = new AbortController();
  const server = new Server({
    'grpc.max_receive_message_length': maxReceiveBytes,
    'grpc.max_send_message_length': maxSendBytes,
    // Counts for a debugging service that is not served.
    'grpc.enable_channelz': 0,
  });
  const instruments = {
    log: context.log,
    clock: context.clock,
    closing: closing.signal,
    observers: context.observers ?? [],
    podOf: (message: unknown) => podOf(context.engine, message),
  };
  for (const { definition, implementation } of [
    runtimeService(context, instruments),
    imageService(context, instruments),
  ]) {
    server.addService(definition, implementation);
  }
  return {
    async listen(path) {
      await prepareSocketPath(path);
      await bind(server, path);
      await closeToOthers(path);
      context.log.info({ socket: path }, 'CRI is served');
    },
    async close() {
      closing.abort();
      try {
        await withDeadline('end of the calls under way', closeMs, undefined, () => shutDown(server));
      } catch (caught) {
        context.log.warn({ err: caught }, 'CRI server closes by force');
      } finally {
        server.forceShutdown();
      }
    },
  };
}

async function bind(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (cause) => {
    if (cause === null) resolve();
    else reject(new HuskError('internal', `listen on "${path}": ${cause.message}`, { cause }));
  });
  await promise;
}

async function shutDown(server: Server): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.tryShutdown((error) => (error === undefined ? resolve() : reject(error)));
  await promise;
}
