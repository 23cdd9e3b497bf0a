/** The filters of CRI's list calls. Every part that is set must hold. */
import { type ContainerState, containerState } from './container-state.ts';
import type { ContainerRecord, SandboxRecord } from './records.ts';
import { isVisible, type SandboxState, sandboxState } from './sandbox-state.ts';

/** Labels that must all be there with these very values. */
export type LabelSelector = Readonly<Record<string, string>>;

export interface SandboxFilter {
  /** The id or its beginning; empty: any. Clients such as crictl shorten ids. */
  readonly id: string;
  readonly state: SandboxState | undefined;
  readonly labels: LabelSelector;
}

export interface ContainerFilter {
  /** The id or its beginning; empty: any. */
  readonly id: string;
  /** The pod's id or its beginning; empty: any. */
  readonly sandboxId: string;
  readonly state: ContainerState | undefined;
  readonly labels: LabelSelector;
}

/** Whether a pod is shown to a client that asks with this filter. */
export function sandboxMatches(record: SandboxRecord, filter: SandboxFilter): boolean {
  return (
    isVisible(record.status.phase) &&
    record.id.startsWith(filter.id) &&
    (filter.state === undefined || sandboxState(record.status.phase) === filter.state) &&
    hasLabels(record.labels, filter.labels)
  );
}

/** Whether a container is shown to a client that asks with this filter. */
export function containerMatches(record: ContainerRecord, filter: ContainerFilter): boolean {
  return (
    !record.status.intended &&
    record.id.startsWith(filter.id) &&
    record.sandboxId.startsWith(filter.sandboxId) &&
    (filter.state === undefined || containerState(record.status) === filter.state) &&
    hasLabels(record.labels, filter.labels)
  );
}

/** Whether every label of the selector is among the labels. */
export function hasLabels(labels: Readonly<Record<string, string>>, selector: LabelSelector): boolean {
  return Object.entries(selector).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);
}
