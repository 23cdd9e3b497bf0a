/** The RPCs of CRI that husk does not serve yet, by name. A client hears so, and falls back. */
import type { ServerUnaryCall, sendUnaryData, UntypedHandleCall } from '@grpc/grpc-js';
import { HuskError } from '../base/errors.ts';
import { toGrpcFailure } from './errors.ts';

/** Methods of RuntimeService that answer Unimplemented, as the generated code spells them. */
export const unimplementedRuntimeRpcs = ['checkpointContainer'] as const;

/** A unary handler that says so. */
export function unimplementedUnary(rpc: string): UntypedHandleCall {
  return (_call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<unknown>): void => callback(failure(rpc));
}

function failure(rpc: string): ReturnType<typeof toGrpcFailure> {
  return toGrpcFailure(new HuskError('unimplemented', `call "${rpc}": husk does not implement it yet`));
}
