/** A CRI call that has ended, as those see it who watch calls. */
import type { Trace } from '../base/trace.ts';

export interface FinishedCall {
  readonly rpc: string;
  /** Name of the gRPC status: `OK`, `NOT_FOUND`... */
  readonly code: string;
  readonly ms: number;
  /** The pod that it was about; empty: none, or not known. */
  readonly podId: string;
  readonly trace: Trace;
}

/** Told of each call after its answer is on the way. Must not throw, and must not take long. */
export type CallObserver = (call: FinishedCall) => void;
