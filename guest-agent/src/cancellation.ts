/** Calls that were cancelled before their handler ran. */
import { type Metadata, ServerInterceptingCall, type ServerInterceptor } from '@grpc/grpc-js';

/**
 * grpc-js tells a handler of a cancellation that comes while it runs. One that comes between the
 * call's first bytes and its handler is dropped (1.14, `handleServerStreaming`), and an exec
 * would then run with nobody to end it. The interceptor notes it.
 */
export class EarlyCancellations {
  readonly #cancelled = new WeakSet<Metadata>();

  readonly interceptor: ServerInterceptor = (_method, call) => {
    let key: Metadata | undefined;
    return new ServerInterceptingCall(call, {
      start: (next) => {
        next({
          onReceiveMetadata: (metadata, pass) => {
            key = metadata;
            pass(metadata);
          },
          onCancel: () => {
            if (key !== undefined) this.#cancelled.add(key);
          },
        });
      },
    });
  };

  /** Whether the call was cancelled, early or since. */
  has(call: { readonly cancelled: boolean; readonly metadata: Metadata }): boolean {
    return call.cancelled || this.#cancelled.has(call.metadata);
  }
}
