/** A kubelet-like client of the CRI, with promises and deadlines. */
import { type CallOptions, ChannelCredentials, type Client, Metadata, type ServiceError } from '@grpc/grpc-js';
import { ImageServiceClient, RuntimeServiceClient } from '../../src/gen/cri/v1/api.ts';

type Callback<R> = (error: ServiceError | null, response: R) => void;
type Method<Q, R> = (request: Q, metadata: Metadata, options: Partial<CallOptions>, callback: Callback<R>) => unknown;
type Unary<T> = {
  [K in keyof T as T[K] extends Method<infer _Q, infer _R> ? K : never]: T[K] extends {
    (request: infer Q, metadata: Metadata, options: Partial<CallOptions>, callback: Callback<infer R>): unknown;
  }
    ? (request: Q, deadlineMs?: number) => Promise<R>
    : never;
};

export type Cri = Unary<RuntimeServiceClient> & Unary<ImageServiceClient> & { close(): void };

const defaultDeadlineMs = 120_000;
const maxMessageBytes = 64 * 1024 * 1024;

/** Connects to a runtime's socket. Every method takes a request and a deadline in milliseconds. */
export function connectCri(socketPath: string): Cri {
  const options = {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': maxMessageBytes,
  };
  const credentials = ChannelCredentials.createInsecure();
  const clients: Client[] = [
    new RuntimeServiceClient(`unix://${socketPath}`, credentials, options),
    new ImageServiceClient(`unix://${socketPath}`, credentials, options),
  ];
  const close = (): void => clients.forEach((client) => client.close());
  return new Proxy({ close } as Cri, {
    get: (target, name: string) => (name === 'close' ? () => target.close() : unary(clients, name)),
  });
}

function unary(clients: readonly Client[], name: string): unknown {
  const client = clients.find((candidate) => name in candidate);
  if (client === undefined) return undefined;
  return (request: unknown, deadlineMs = defaultDeadlineMs) =>
    new Promise((resolve, reject) => {
      const methods = client as unknown as Record<string, Method<unknown, unknown>>;
      methods[name]?.(request, new Metadata(), { deadline: Date.now() + deadlineMs }, (error, response) => {
        if (error === null) resolve(response);
        else reject(error);
      });
    });
}
