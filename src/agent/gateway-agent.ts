/** Typed calls to one VM's agent, through the gateway. */
import { type ClientUnaryCall, Metadata, type ServiceError } from '@grpc/grpc-js';
import { withDeadline } from '../base/deadline.ts';
import { HuskError } from '../base/errors.ts';
import { kindOfGrpcCode } from '../base/grpc-codes.ts';
import { graft, span } from '../base/trace.ts';
import type {
  CallRequest,
  CallResponse,
  GatewayClient,
  StreamUrlRequest,
  StreamUrlResponse,
} from '../gen/gateway/v1/gateway.ts';
import type { Agent, CallOptions } from './agent.ts';

/** The gateway ends a call at its deadline and says why; only a dead gateway lets it run on for so long. */
const graceMs = 1_000;
/** Until the guest has killed a command that reached its timeout, and all has come back. */
const execGraceMs = 15_000;

type Callback<T> = (error: ServiceError | null, response: T) => void;

/** One call to the gateway: errors typed, cancelled by the signal. */
export async function callGateway<T>(
  start: (callback: Callback<T>) => ClientUnaryCall,
  signal: AbortSignal | undefined,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const call = start((error, response) => {
    if (error === null) resolve(response);
    else reject(new HuskError(kindOfGrpcCode(error.code), error.details, { cause: error, stage: 'agent' }));
  });
  const cancel = (): void => call.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  if (signal?.aborted) cancel();
  try {
    return await promise;
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}

/** What every call waits for: also a gateway that is just being replaced. */
export function waiting(): Metadata {
  return new Metadata({ waitForReady: true });
}

/**
 * @param ready settles when the VM is attached to the gateway that runs now
 * @param forget called when a container is gone
 */
export function gatewayAgent(
  client: GatewayClient,
  vmId: string,
  ready: () => Promise<void>,
  forget: (containerId: string) => void,
): Agent {
  type Request = NonNullable<CallRequest['request']>;
  type Response<Case extends Request['$case']> = Extract<
    NonNullable<CallResponse['response']>,
    { $case: Case }
  >['value'];
  const call = <Case extends Request['$case']>(
    request: Request & { $case: Case },
    { timeoutMs, signal }: CallOptions,
  ): Promise<Response<Case>> =>
    span(`agent ${request.$case}`, () =>
      withDeadline<Response<Case>>(`agent call "${request.$case}"`, timeoutMs + graceMs, signal, async (stop) => {
        await ready();
        const message: CallRequest = { vmId, timeoutMs: BigInt(Math.ceil(timeoutMs)), request };
        const { response } = await callGateway<CallResponse>((done) => client.call(message, waiting(), done), stop);
        if (response?.$case !== request.$case) {
          throw new HuskError('internal', `agent call "${request.$case}": the gateway answered "${response?.$case}"`, {
            stage: 'agent',
          });
        }
        if ('steps' in response.value) graft('guest', response.value.steps);
        return response.value as Awaited<Response<Case>>;
      }),
    );
  return {
    hello: (options) => call({ $case: 'hello', value: { nonce: Buffer.alloc(0) } }, options),
    configureSandbox: (value, options) => call({ $case: 'configureSandbox', value }, options),
    createContainer: (value, options) => call({ $case: 'createContainer', value }, options),
    startContainer: (containerId, options) => call({ $case: 'startContainer', value: { containerId } }, options),
    stopContainer: async (value, options) => (await call({ $case: 'stopContainer', value }, options)).lastOutput,
    removeContainer: async (containerId, options) => {
      await call({ $case: 'removeContainer', value: { containerId } }, options);
      forget(containerId);
    },
    putVolume: async (value, options) => void (await call({ $case: 'putVolume', value }, options)),
    listContainers: async (options) => (await call({ $case: 'listContainers', value: {} }, options)).containers,
    stats: async (value, options) => (await call({ $case: 'stats', value }, options)).containers,
    updateContainer: async (value, options) => void (await call({ $case: 'updateContainer', value }, options)),
    execSync: (request, signal) => execSync(client, vmId, ready, { request, signal }),
    streamUrl: (kind, options) => streamUrl(client, { vmId, kind, nativeFolder: '' }, ready, options),
  };
}

/** The URL of a stream, when the gateway is there. */
export function streamUrl(
  client: GatewayClient,
  request: StreamUrlRequest,
  ready: () => Promise<void>,
  { timeoutMs, signal }: CallOptions,
): Promise<string> {
  return withDeadline('URL of a stream', timeoutMs, signal, async (stop) => {
    await ready();
    const { url } = await callGateway<StreamUrlResponse>((done) => client.streamUrl(request, waiting(), done), stop);
    return url;
  });
}

type ExecSync = Parameters<Agent['execSync']>;

async function execSync(
  client: GatewayClient,
  vmId: string,
  ready: () => Promise<void>,
  { request, signal }: { readonly request: ExecSync[0]; readonly signal: ExecSync[1] },
): ReturnType<Agent['execSync']> {
  const { timeoutMs, maxOutputBytes, ...rest } = request;
  const message = { vmId, ...rest, timeoutMs: BigInt(timeoutMs), maxOutputBytes: BigInt(maxOutputBytes) };
  const exec = (stop: AbortSignal | undefined): ReturnType<Agent['execSync']> =>
    span('agent execSync', async () => {
      await ready();
      return await callGateway((done) => client.execSync(message, waiting(), done), stop);
    });
  if (timeoutMs === 0) return await exec(signal);
  return await withDeadline('exec in a container', timeoutMs + execGraceMs, signal, exec);
}
