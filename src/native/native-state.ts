/** What the native runtime remembers of a pod in its record. */
import { HuskError } from '../base/errors.ts';

export interface NativePodState {
  readonly kind: 'native';
  /** Namespaces and mounts end with the boot they were made in. */
  readonly bootId: string;
  readonly hostname: string;
  /** Which namespaces are the pod's own; the others are the host's. */
  readonly own: { readonly network: boolean; readonly ipc: boolean; readonly uts: boolean };
  /** Whether its containers share a PID namespace of the pod. */
  readonly sharedPid: boolean;
}

/**
 * Reads the state back from a record.
 * @returns undefined when the record was written before the first effect
 * @throws HuskError `data-loss` when the shape is not ours
 */
export function parseNativeState(value: unknown): NativePodState | undefined {
  if (value === null || value === undefined) return undefined;
  if (isNativeState(value)) return value;
  throw new HuskError('data-loss', 'read the state of a native pod record: not a shape this version knows', {
    hint: 'remove the pod',
  });
}

function isNativeState(value: unknown): value is NativePodState {
  if (typeof value !== 'object' || value === null) return false;
  const state: Partial<Record<keyof NativePodState, unknown>> = value;
  const own: Partial<Record<'network' | 'ipc' | 'uts', unknown>> =
    typeof state.own === 'object' && state.own !== null ? state.own : {};
  return (
    state.kind === 'native' &&
    typeof state.bootId === 'string' &&
    typeof state.hostname === 'string' &&
    typeof state.sharedPid === 'boolean' &&
    [own.network, own.ipc, own.uts].every((flag) => typeof flag === 'boolean')
  );
}
