/** What happens to pods and containers, for those who listen: taken from the changes of the records. */
import { HuskError } from '../../base/errors.ts';
import { containerState } from '../container-state.ts';
import type { ContainerRecord, SandboxRecord } from '../records.ts';

export type PodEventKind = 'created' | 'started' | 'stopped' | 'deleted';

/** An event, with the records as they stood then. */
export interface PodEvent {
  readonly kind: PodEventKind;
  /** Of the container; of the pod when it happened to the pod itself. */
  readonly id: string;
  readonly atNs: bigint;
  /** Absent when the pod has no record any more. */
  readonly sandbox: SandboxRecord | undefined;
  readonly containers: readonly ContainerRecord[];
}

/** Listeners at a time: a kubelet, and a few people with crictl. */
const maxListeners = 32;
/** Events that wait for one listener. A kubelet reads at once; one that is this far behind lists anew anyway. */
const maxWaiting = 1_024;

interface Listener {
  readonly waiting: PodEvent[];
  fellBehind: boolean;
  wake: () => void;
}

export class PodEvents {
  readonly #listeners = new Set<Listener>();

  /** Whether anybody listens: who tells may save the work. */
  get wanted(): boolean {
    return this.#listeners.size > 0;
  }

  tell(event: PodEvent): void {
    for (const listener of this.#listeners) {
      if (listener.waiting.length >= maxWaiting) listener.fellBehind = true;
      else listener.waiting.push(event);
      listener.wake();
    }
  }

  /**
   * The events from now on, until the signal fires.
   * @throws HuskError `resource-exhausted` when there are too many listeners, or when the reader falls behind
   */
  async *listen(signal: AbortSignal): AsyncGenerator<PodEvent> {
    if (this.#listeners.size >= maxListeners) {
      throw new HuskError('resource-exhausted', `listen to events: ${maxListeners} listen already`);
    }
    const listener: Listener = { waiting: [], fellBehind: false, wake: () => undefined };
    this.#listeners.add(listener);
    const onAbort = (): void => listener.wake();
    signal.addEventListener('abort', onAbort);
    try {
      while (!signal.aborted) {
        const event = listener.waiting.shift();
        if (event !== undefined) yield event;
        else if (listener.fellBehind) {
          throw new HuskError('resource-exhausted', `listen to events: ${maxWaiting} wait to be read`, {
            hint: 'list the pods and listen again',
          });
        } else await new Promise<void>((resolve) => (listener.wake = resolve));
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#listeners.delete(listener);
    }
  }
}

/** What a change of a container's record tells; undefined: nothing that anybody asks for. */
export function containerEvent(before: ContainerRecord, after: ContainerRecord | undefined): PodEventKind | undefined {
  if (after === undefined) return before.status.intended ? undefined : 'deleted';
  if (before.status.intended) return after.status.intended ? undefined : 'created';
  const [was, is] = [containerState(before.status), containerState(after.status)];
  if (was === is) return undefined;
  return is === 'running' ? 'started' : 'stopped';
}

/** What a change of a pod's record tells. A pod is created and started at once. */
export function sandboxEvents(before: SandboxRecord, after: SandboxRecord | undefined): readonly PodEventKind[] {
  const was = before.status.phase;
  if (after === undefined) return was === 'intended' ? [] : ['deleted'];
  const is = after.status.phase;
  if (was === is) return [];
  if (is === 'ready') return ['created', 'started'];
  return was === 'ready' ? ['stopped'] : [];
}
