/** The agent's gRPC server: one file per RPC, errors mapped in one place. */
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js';
import { describeError, type ErrorKind, HuskError } from '../../src/base/errors.ts';
import type { Log } from '../../src/base/log.ts';
import { type AgentServer, AgentService } from '../../src/gen/agent/v1/agent.ts';
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
import { updateContainer } from './rpc/update-container.ts';
import { withSteps } from './steps.ts';

/** A container's spec with its files is some hundred KiB at most. */
const maxMessageBytes = 4 * 1024 * 1024;

const codes: Readonly<Record<ErrorKind, status>> = {
  'invalid-argument': status.INVALID_ARGUMENT,
  'not-found': status.NOT_FOUND,
  'already-exists': status.ALREADY_EXISTS,
  'failed-precondition': status.FAILED_PRECONDITION,
  'resource-exhausted': status.RESOURCE_EXHAUSTED,
  'permission-denied': status.PERMISSION_DENIED,
  unavailable: status.UNAVAILABLE,
  unimplemented: status.UNIMPLEMENTED,
  'deadline-exceeded': status.DEADLINE_EXCEEDED,
  cancelled: status.CANCELLED,
  'data-loss': status.DATA_LOSS,
  unknown: status.UNKNOWN,
  internal: status.INTERNAL,
};

/** Serves the pod on its socket. */
export async function serve(pod: Pod, runtimeVersion: string, log: Log): Promise<Server> {
  const server = new Server({
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
  });
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
    stopContainer: unary((request) => stopContainer(pod, request)),
    removeContainer: unary((request) => removeContainer(pod, request)),
    listContainers: unary(() => listContainers(pod)),
    putVolume: unary((request) => putVolume(pod, request)),
    stats: unary((request) => stats(pod, request)),
    updateContainer: unary((request) => updateContainer(pod, request)),
    exec: (call) => {
      exec(pod, call).catch((caught: unknown) => call.emit('error', failure(caught)));
    },
    events: (call) => pod.events.attach(call),
  };
  server.addService(AgentService, implementation);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.bindAsync(`unix:${pod.settings.socketPath}`, ServerCredentials.createInsecure(), (cause) => {
    if (cause === null) resolve();
    else reject(new HuskError('internal', `listen on "${pod.settings.socketPath}": ${cause.message}`, { cause }));
  });
  await promise;
  log.info({ socket: pod.settings.socketPath }, 'agent serves');
  return server;
}

function failure(caught: unknown): { code: status; details: string } {
  return { code: codes[HuskError.from(caught).kind], details: describeError(caught) };
}
