/** The runtimes of this node. */
import { HuskError } from '../../base/errors.ts';
import type { PodRuntime } from '../pod-runtime.ts';
import type { RuntimeName } from '../records.ts';

export interface PodRuntimes {
  /** Absent in a direct run that needs none. */
  readonly vm?: PodRuntime;
  /** Absent where the node runs no native pods. */
  readonly native?: PodRuntime;
}

/**
 * The runtime that owns a pod.
 * @throws HuskError `failed-precondition` when the node no longer has it
 */
export function runtimeOf(runtimes: PodRuntimes, name: RuntimeName): PodRuntime {
  const runtime = runtimes[name];
  if (runtime !== undefined) return runtime;
  throw new HuskError('failed-precondition', `use the ${name} runtime of the pod: this node has none`, {
    hint: 'enable the native runtime, at least until its pods are removed',
  });
}
