/** gRPC to one guest: one channel, deadlines on every call, errors without the guest's control characters. */
import { type ClientDuplexStream, type ClientReadableStream, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { describeError, HuskError } from '../../base/errors.ts';
import { kindOfGrpcCode } from '../../base/grpc-codes.ts';
import {
  AgentClient,
  AgentService,
  type Event,
  type EventsRequest,
  type ExecMessage,
  type ExecRequest,
} from '../../gen/agent/v1/agent.ts';
import { protocolError } from '../check/answers.ts';
import { cleanText } from '../check/text.ts';
import { type LinkLimits, maxGuestMessageBytes } from '../limits.ts';
import { LinkCredentials, type LinkStart } from './connector.ts';

/** What HTTP/2 itself needs for a message, generously. */
const framingBytes = 128;
const forever = 2 ** 31 - 1;
/** Megabytes of frames that the HTTP/2 session may hold for one guest. */
const maxSessionMegabytes = 16;
const flowControlWindow = 256 * 1024;

/** The unary calls of the agent. */
export type UnaryName = {
  [Name in keyof typeof AgentService]: (typeof AgentService)[Name] extends {
    requestStream: false;
    responseStream: false;
  }
    ? Name
    : never;
}[keyof typeof AgentService];
type RequestOf<Name extends UnaryName> = Parameters<(typeof AgentService)[Name]['requestSerialize']>[0];
type ResponseOf<Name extends UnaryName> = ReturnType<(typeof AgentService)[Name]['responseDeserialize']>;

/** A channel to one guest, made on the first call and made again when it breaks. */
export class GuestClient {
  readonly #credentials: LinkCredentials;
  readonly #client: AgentClient;
  #usefulBytes = 0;
  #fault: HuskError | undefined;

  /**
   * @param socket path of QEMU's agent channel
   * @param start what the handshake needs
   */
  constructor(socket: string, limits: LinkLimits, start: LinkStart) {
    this.#credentials = new LinkCredentials(limits, start);
    this.#client = new AgentClient(`unix:${socket}`, this.#credentials, {
      'grpc.default_authority': 'agent',
      'grpc.max_receive_message_length': maxGuestMessageBytes,
      'grpc.keepalive_time_ms': limits.keepaliveMs,
      'grpc.keepalive_timeout_ms': limits.keepaliveTimeoutMs,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 500,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.client_idle_timeout_ms': forever,
      'grpc.enable_retries': 0,
      'grpc.enable_http_proxy': 0,
      'grpc.enable_channelz': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc-node.max_session_memory': maxSessionMegabytes,
      'grpc-node.flow_control_window': flowControlWindow,
    });
  }

  /** Bytes that came and were part of no message. */
  get wastedBytes(): number {
    return this.#credentials.bytesRead - this.#usefulBytes;
  }

  /** Waits for a link. @throws HuskError `unavailable` with the reason of the latest failure */
  async ready(timeoutMs: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#client.waitForReady(Date.now() + timeoutMs, (error) => (error ? reject(error) : resolve()));
    await promise.catch((caught: unknown) => {
      const text = `link to the guest: none within ${timeoutMs} ms: ${this.#credentials.lastFailure}`;
      throw new HuskError('unavailable', text, { cause: caught, stage: 'agent-link' });
    });
  }

  /** One call. Waits for a link, for no longer than the time given. */
  unary<Name extends UnaryName>(
    name: Name,
    request: RequestOf<Name>,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<ResponseOf<Name>> {
    const method = AgentService[name];
    const { promise, resolve, reject } = Promise.withResolvers<ResponseOf<Name>>();
    const call = this.#client.makeUnaryRequest(
      method.path,
      method.requestSerialize as (value: RequestOf<Name>) => Buffer,
      this.#counted(method.responseDeserialize as (bytes: Buffer) => ResponseOf<Name>),
      request,
      new Metadata({ waitForReady: true }),
      { deadline: Date.now() + timeoutMs },
      (error, response) => {
        if (error === null && response !== undefined) resolve(response);
        else reject(this.#errorOf(`agent call "${name}"`, error));
      },
    );
    const cancel = (): void => call.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    if (signal.aborted) cancel();
    return promise.finally(() => signal.removeEventListener('abort', cancel));
  }

  /** Output of a command; errors of the stream are made readable by `explain`. */
  exec(request: ExecRequest, deadlineMs: number | undefined): ClientReadableStream<ExecMessage> {
    const { path, requestSerialize, responseDeserialize } = AgentService.exec;
    const options = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
    const metadata = new Metadata({ waitForReady: true });
    return this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      this.#counted(responseDeserialize),
      request,
      metadata,
      options,
    );
  }

  /** A stream of events on a link that is ready. */
  events(): ClientDuplexStream<EventsRequest, Event> {
    const { path, requestSerialize, responseDeserialize } = AgentService.events;
    return this.#client.makeBidiStreamRequest(path, requestSerialize, this.#counted(responseDeserialize));
  }

  /** What the guest sent that is no message at all. */
  get fault(): HuskError | undefined {
    return this.#fault;
  }

  /** What a stream failed with, as a typed error. */
  explain(what: string, caught: unknown): HuskError {
    return this.#errorOf(what, caught as ServiceError);
  }

  close(): void {
    this.#client.close();
    this.#credentials.close();
  }

  #counted<T>(deserialize: (bytes: Buffer) => T): (bytes: Buffer) => T {
    return (bytes) => {
      this.#usefulBytes += bytes.length + framingBytes;
      try {
        return deserialize(bytes);
      } catch (caught) {
        this.#fault ??= protocolError(`message that cannot be decoded: ${cleanText(String(caught))}`);
        throw caught;
      }
    };
  }

  #errorOf(what: string, error: ServiceError | null): HuskError {
    const code = error?.code ?? status.UNKNOWN;
    if (this.#fault !== undefined) return this.#fault;
    const text = error === null ? 'no answer' : cleanText(error.details ?? describeError(error));
    const link =
      code === status.UNAVAILABLE || code === status.DEADLINE_EXCEEDED
        ? ` (link: ${this.#credentials.lastFailure})`
        : '';
    return new HuskError(kindOfGrpcCode(code), `${what}: ${text}${link}`, { cause: error, stage: 'agent' });
  }
}
