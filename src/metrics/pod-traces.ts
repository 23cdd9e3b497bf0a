/** The traces of each pod's life, kept in memory for `husk timeline`. Bounded in pods and in calls. */
import type { Span, Trace } from '../base/trace.ts';
import type { CallObserver } from './call.ts';

/** The trace of one call as JSON: times in milliseconds since its beginning. */
export interface CallTrace {
  readonly rpc: string;
  readonly code: string;
  /** Wall clock at its beginning, nanoseconds since the epoch, in decimal. */
  readonly startedAtNs: string;
  readonly spans: readonly Span[];
}

/** A full node has some hundred pods; those that are gone make room. */
const maxPods = 512;
/** Run, stop, remove, and create and start of some containers. */
const maxCalls = 32;

const maxExecs = 4;

const lifecycle = /^(RunPodSandbox|StopPodSandbox|RemovePodSandbox|(Create|Start|Stop|Remove)Container|ExecSync)$/;

/** Whether a call makes a pod's life; what a kubelet polls does not. */
export function isLifecycle(rpc: string): boolean {
  return lifecycle.test(rpc);
}

export class PodTraces {
  readonly #pods = new Map<string, CallTrace[]>();

  /** To be told of each call. */
  readonly observe: CallObserver = ({ rpc, code, podId, trace }) => {
    if (podId === '' || !isLifecycle(rpc)) return;
    const calls = this.#pods.get(podId) ?? [];
    if (rpc === 'ExecSync' && calls.filter((call) => call.rpc === rpc).length >= maxExecs) return;
    // Set anew: the map's order is that of the last call.
    this.#pods.delete(podId);
    this.#pods.set(podId, [...calls.slice(-maxCalls + 1), toCallTrace(rpc, code, trace)]);
    const [oldest] = this.#pods.keys();
    if (this.#pods.size > maxPods && oldest !== undefined) this.#pods.delete(oldest);
  };

  /** In the order in which they ended. */
  of(podId: string): readonly CallTrace[] {
    return this.#pods.get(podId) ?? [];
  }
}

function toCallTrace(rpc: string, code: string, { startedAtNs, spans }: Trace): CallTrace {
  return { rpc, code, startedAtNs: startedAtNs.toString(), spans };
}
