/** The agent's gRPC server: one file per RPC, errors mapped in one place. */
import type { Server } from 'node:net';
import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { describeError, HuskError } from '../../src/base/errors.ts';
import { grpcCode } from '../../src/base/grpc-codes.ts';
import type { Log } from '../../src/base/log.ts';
import { type AgentServer, AgentService } from '../../src/gen/agent/v1/agent.ts';
import { serveGrpc } from './grpc/server.ts';
import type { Pod } from './pod.ts';
import { configureSandbox } from './rpc/configure-sandbox.ts';
import { createContainer } from './rpc/create-container.ts';
import { exec } from './rpc/exec.ts';
import { hello } from './rpc/hello.ts';
import { listContainers } from './rpc/list-containers.ts';
import { putVolume } from './rpc/put-volume.ts';
import { removeContainer } from './rpc/remove-container.ts';
import { startContainer } from './rpc/start-container.ts';
import { stats } from './rpc/stats.ts';
import { stopContainer } from './rpc/stop-container.ts';
import { streamAttach } from './rpc/stream-attach.ts';
import { streamExec } from './rpc/stream-exec.ts';
import { updateContainer } from './rpc/update-container.ts';
import { withSteps } from './steps.ts';

/** A container's spec with its files is some hundred KiB at most. */
const maxMessageBytes = 4 * 1024 * 1024;

/** Serves the pod on its socket. */
export async function serve(pod: Pod, runtimeVersion: string, log: Log): Promise<Server> {
  const unary =
    <Q, R>(work: (request: Q) => R | Promise<R>) =>
    (call: ServerUnaryCall<Q, R>, callback: sendUnaryData<R>): void => {
      Promise.resolve()
        .then(() => work(call.request))
        .then(
          (response) => callback(null, response),
          (caught: unknown) => callback(failure(caught)),
        );
    };
  const implementation: AgentServer = {
    hello: unary((request) => hello(pod, runtimeVersion, request)),
    configureSandbox: unary((request) => withSteps(() => configureSandbox(pod, request))),
    createContainer: unary((request) => withSteps(() => createContainer(pod, request))),
    startContainer: unary((request) => withSteps(() => startContainer(pod, request))),
    stopContainer: unary((request) => withSteps(() => stopContainer(pod, request))),
    removeContainer: unary((request) => withSteps(() => removeContainer(pod, request))),
    listContainers: unary(() => listContainers(pod)),
    putVolume: unary((request) => putVolume(pod, request)),
    stats: unary((request) => stats(pod, request)),
    updateContainer: unary((request) => updateContainer(pod, request)),
    exec: (call) => {
      exec(pod, call).catch((caught: unknown) => call.emit('error', failure(caught)));
    },
    streamExec: unary((request) => streamExec(pod, request)),
    streamAttach: unary((request) => streamAttach(pod, request)),
    events: (call) => pod.events.attach(call),
  };
  const path = pod.settings.socketPath;
  const server = await serveGrpc({ path, maxMessageBytes }, { definition: AgentService, handlers: implementation });
  log.info({ socket: path }, 'agent serves');
  return server;
}

function failure(caught: unknown): { code: number; details: string } {
  return { code: grpcCode(HuskError.from(caught).kind), details: describeError(caught) };
}
