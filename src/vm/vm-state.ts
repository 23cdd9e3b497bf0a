/** What the VM runtime remembers of a pod in its record. */
import { HuskError, isKind } from '../base/errors.ts';
import type { VmRef } from '../hypervisor/hypervisor.ts';
import type { SandboxRecord } from '../pod/records.ts';

export interface VmPodState {
  readonly uid: number;
  readonly netnsPath: string;
  readonly cgroupParent: string;
  readonly hostname: string;
  readonly sharedPid: boolean;
  /** Key of the agent link: 16 hex digits that nobody in the pod knows. */
  readonly linkKey: string;
  /** Absent until the VM was started. */
  readonly vm?: VmRef;
}

/**
 * Reads the state back from a record.
 * @returns undefined when the record was written before the first effect
 * @throws HuskError `data-loss` when the shape is not ours
 */
export function parseVmState(value: unknown): VmPodState | undefined {
  if (value === null || value === undefined) return undefined;
  if (isVmState(value)) return value;
  throw new HuskError('data-loss', 'read the VM state of a pod record: not a shape this version knows', {
    hint: 'remove the pod',
  });
}

/** The uids that records of VM pods name: also a pod that is stopped has files of its uid. */
export function recordedUids(records: readonly SandboxRecord[]): number[] {
  return records
    .filter(({ runtime }) => runtime === 'vm')
    .flatMap(({ status }) => {
      try {
        return parseVmState(status.runtimeState)?.uid ?? [];
      } catch (caught) {
        if (isKind(caught, 'data-loss')) return [];
        throw caught;
      }
    });
}

function isVmState(value: unknown): value is VmPodState {
  if (typeof value !== 'object' || value === null) return false;
  const state: Partial<Record<keyof VmPodState, unknown>> = value;
  return (
    Number.isInteger(state.uid) &&
    typeof state.netnsPath === 'string' &&
    typeof state.cgroupParent === 'string' &&
    typeof state.hostname === 'string' &&
    typeof state.sharedPid === 'boolean' &&
    typeof state.linkKey === 'string' &&
    (state.vm === undefined || isVmRef(state.vm))
  );
}

function isVmRef(value: unknown): value is VmRef {
  if (typeof value !== 'object' || value === null) return false;
  const ref: Partial<Record<keyof VmRef, unknown>> = value;
  const texts: readonly (keyof VmRef)[] = [
    'id',
    'startTicks',
    'qmpSocket',
    'agentSocket',
    'fdSocket',
    'consoleLog',
    'origin',
  ];
  return Number.isInteger(ref.pid) && texts.every((key) => typeof ref[key] === 'string');
}
