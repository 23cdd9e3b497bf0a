/**
 * The life of a container, derived from the facts in its record and stored nowhere else.
 *
 * ```
 *   CreateContainer: record written, `intended`
 *        │
 *        ▼
 *     created ──StartContainer──▶ running ──exit──▶ exited
 *        │                                            ▲
 *        └────────start failed, or the pod is gone────┘
 *
 *   RemoveContainer leads from every state to (no record), through the flag `removing`.
 * ```
 */
import type { ContainerStatusRecord } from './records.ts';

/** The states of CRI but for UNKNOWN, which husk never has to say. */
export type ContainerState = 'created' | 'running' | 'exited';

/** The value of a time that has not come. */
export const neverNs = '0';

/** The status of a container whose creation is about to begin. */
export const intendedStatus: ContainerStatusRecord = {
  intended: true,
  startedAtNs: neverNs,
  finishedAtNs: neverNs,
  exitCode: 0,
  reason: '',
  message: '',
  user: null,
  removing: false,
  resourcesBase64: '',
};

/** The state in CRI's terms. */
export function containerState(status: ContainerStatusRecord): ContainerState {
  if (hasCome(status.finishedAtNs)) return 'exited';
  return hasCome(status.startedAtNs) ? 'running' : 'created';
}

/** Whether StartContainer may be tried. */
export function canStart(status: ContainerStatusRecord): boolean {
  return containerState(status) === 'created' && !status.intended && !status.removing;
}

/** Whether there is a process to stop. */
export function canStop(status: ContainerStatusRecord): boolean {
  return containerState(status) === 'running';
}

/** Whether commands can be run in it, and its log be reopened. */
export function canExec(status: ContainerStatusRecord): boolean {
  return containerState(status) === 'running' && !status.removing;
}

/** How a container ended. */
export interface ContainerEnd {
  readonly exitCode: number;
  readonly finishedAtNs: bigint;
  readonly oomKilled: boolean;
  readonly message: string;
}

/** The status after an end. The first end counts: a repeated report changes nothing. */
export function ended(status: ContainerStatusRecord, end: ContainerEnd): ContainerStatusRecord {
  if (containerState(status) === 'exited') return status;
  return {
    ...status,
    finishedAtNs: end.finishedAtNs.toString(),
    exitCode: end.exitCode,
    reason: reasonOf(end),
    message: end.message,
  };
}

/** The words the kubelet and its users know. `OOMKilled` is part of the contract, the others are habit. */
function reasonOf(end: ContainerEnd): string {
  if (end.oomKilled) return 'OOMKilled';
  return end.exitCode === 0 ? 'Completed' : 'Error';
}

function hasCome(timeNs: string): boolean {
  return timeNs !== neverNs && timeNs !== '';
}
