/** Which file serves which RPC: the table of contents of this folder. */
import type { MethodDefinition, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { ImageServiceService, RuntimeServiceService } from '../gen/cri/v1/api.ts';
import { attach } from './container-attach.ts';
import { createContainer } from './container-create.ts';
import { exec } from './container-exec.ts';
import { execSync } from './container-exec-sync.ts';
import { getContainerEvents } from './container-get-events.ts';
import { listContainers } from './container-list.ts';
import { listContainerStats } from './container-list-stats.ts';
import { removeContainer } from './container-remove.ts';
import { reopenContainerLog } from './container-reopen-log.ts';
import { startContainer } from './container-start.ts';
import { containerStats } from './container-stats.ts';
import { containerStatus } from './container-status.ts';
import { stopContainer } from './container-stop.ts';
import { streamContainers } from './container-stream.ts';
import { streamContainerStats } from './container-stream-stats.ts';
import { updateContainerResources } from './container-update-resources.ts';
import type { CriContext } from './context.ts';
import { decodeRequest } from './decode.ts';
import { Encoded } from './encoded.ts';
import { imageFsInfo } from './image-fs-info.ts';
import { listImages } from './image-list.ts';
import { pullImage } from './image-pull.ts';
import { removeImage } from './image-remove.ts';
import { imageStatus } from './image-status.ts';
import { streamImages } from './image-stream.ts';
import { type Handler, type Instruments, instrument } from './instrument.ts';
import { instrumentStream, type StreamHandler } from './instrument-stream.ts';
import { runtimeConfig } from './runtime-config.ts';
import { listMetricDescriptors } from './runtime-list-metric-descriptors.ts';
import { runtimeStatus } from './runtime-status.ts';
import { updateRuntimeConfig } from './runtime-update-config.ts';
import { runtimeVersion } from './runtime-version.ts';
import { listPodSandbox } from './sandbox-list.ts';
import { listPodSandboxMetrics } from './sandbox-list-metrics.ts';
import { listPodSandboxStats } from './sandbox-list-stats.ts';
import { portForward } from './sandbox-port-forward.ts';
import { removePodSandbox } from './sandbox-remove.ts';
import { runPodSandbox } from './sandbox-run.ts';
import { podSandboxStats } from './sandbox-stats.ts';
import { podSandboxStatus } from './sandbox-status.ts';
import { stopPodSandbox } from './sandbox-stop.ts';
import { streamPodSandboxes } from './sandbox-stream.ts';
import { streamPodSandboxMetrics } from './sandbox-stream-metrics.ts';
import { streamPodSandboxStats } from './sandbox-stream-stats.ts';
import { updatePodSandboxResources } from './sandbox-update-resources.ts';
import { unimplementedRuntimeRpcs, unimplementedUnary } from './unimplemented.ts';

/** The request and response of a method as the generated service has them. */
type Served<Service, Missing extends keyof Service> = {
  readonly [Method in Exclude<keyof Service, Missing>]: Service[Method] extends {
    requestDeserialize: (bytes: Buffer) => infer Request;
    responseSerialize: (value: infer Response) => Buffer;
  }
    ? Service[Method] extends { responseStream: true }
      ? StreamHandler<Request, Response>
      : Handler<Request, Response>
    : never;
};
type RuntimeHandlers = Served<typeof RuntimeServiceService, (typeof unimplementedRuntimeRpcs)[number]>;
type ImageHandlers = Served<typeof ImageServiceService, never>;

/** A service ready for a grpc-js server. */
export interface BoundService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

/** RuntimeService. A method that is neither here nor in `unimplemented.ts` does not compile. */
export function runtimeService(context: CriContext, instruments: Instruments): BoundService {
  const handlers: RuntimeHandlers = {
    version: () => runtimeVersion(context),
    status: (request) => runtimeStatus(context, request),
    runtimeConfig: () => runtimeConfig(context),
    updateRuntimeConfig: (request) => updateRuntimeConfig(context, request),
    runPodSandbox: (request, signal) => runPodSandbox(context, request, signal),
    stopPodSandbox: (request, signal) => stopPodSandbox(context, request, signal),
    removePodSandbox: (request, signal) => removePodSandbox(context, request, signal),
    podSandboxStatus: (request) => podSandboxStatus(context, request),
    listPodSandbox: (request) => listPodSandbox(context, request),
    createContainer: (request, signal) => createContainer(context, request, signal),
    startContainer: (request, signal) => startContainer(context, request, signal),
    stopContainer: (request, signal) => stopContainer(context, request, signal),
    removeContainer: (request, signal) => removeContainer(context, request, signal),
    containerStatus: (request) => containerStatus(context, request),
    listContainers: (request) => listContainers(context, request),
    execSync: (request, signal) => execSync(context, request, signal),
    exec: (request, signal) => exec(context, request, signal),
    attach: (request, signal) => attach(context, request, signal),
    portForward: (request, signal) => portForward(context, request, signal),
    reopenContainerLog: (request) => reopenContainerLog(context, request),
    containerStats: (request) => containerStats(context, request),
    listContainerStats: (request) => listContainerStats(context, request),
    podSandboxStats: (request) => podSandboxStats(context, request),
    listPodSandboxStats: (request) => listPodSandboxStats(context, request),
    listMetricDescriptors: () => listMetricDescriptors(),
    listPodSandboxMetrics: () => listPodSandboxMetrics(context),
    updateContainerResources: (request, signal) => updateContainerResources(context, request, signal),
    updatePodSandboxResources: (request) => updatePodSandboxResources(context, request),
    getContainerEvents: (_request, signal) => getContainerEvents(context, signal),
    streamPodSandboxes: (request) => streamPodSandboxes(context, request),
    streamContainers: (request) => streamContainers(context, request),
    streamContainerStats: (request) => streamContainerStats(context, request),
    streamPodSandboxStats: (request) => streamPodSandboxStats(context, request),
    streamPodSandboxMetrics: () => streamPodSandboxMetrics(context),
  };
  return bind(RuntimeServiceService, handlers, instruments);
}

/** ImageService. A method that is neither here nor in `unimplemented.ts` does not compile. */
export function imageService(context: CriContext, instruments: Instruments): BoundService {
  const handlers: ImageHandlers = {
    listImages: (request) => listImages(context, request),
    imageStatus: (request) => imageStatus(context, request),
    pullImage: (request, signal) => pullImage(context, request, signal),
    removeImage: (request) => removeImage(context, request),
    imageFsInfo: () => imageFsInfo(context),
    streamImages: (request) => streamImages(context, request),
  };
  return bind(ImageServiceService, handlers, instruments);
}

function bind(service: ServiceDefinition, handlers: object, instruments: Instruments): BoundService {
  const served = new Map<string, Handler<unknown, unknown> & StreamHandler<unknown, unknown>>(Object.entries(handlers));
  const definition: Record<string, MethodDefinition<unknown, unknown>> = {};
  const implementation: UntypedServiceImplementation = {};
  for (const [name, method] of Object.entries(service)) {
    const rpc = method.path.slice(method.path.lastIndexOf('/') + 1);
    const handler = served.get(name);
    definition[name] = {
      ...method,
      requestDeserialize: (bytes) => decodeRequest(method.requestDeserialize, bytes),
      responseSerialize: (value) => (value instanceof Encoded ? value.bytes : method.responseSerialize(value)),
    };
    if (handler === undefined) implementation[name] = unimplementedUnary(rpc);
    else if (method.responseStream) implementation[name] = instrumentStream(rpc, handler, instruments);
    else implementation[name] = instrument(rpc, handler, instruments);
  }
  return { definition, implementation };
}
