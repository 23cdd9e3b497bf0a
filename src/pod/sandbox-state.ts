/**
 * The life of a pod, as questions about its record.
 *
 * ```
 *   RunPodSandbox: record written
 *        │
 *        ▼
 *    intended ──the runtime is done──▶ ready ──StopPodSandbox, or lost──▶ not-ready
 *        │                               │                                  │
 *        │ failed, or found              └───────────RemovePodSandbox───────┤
 *        │ after a restart                                                  ▼
 *        └──swept──▶ (no record) ◀──────────────every trace gone──────── removing
 * ```
 *
 * A sweep that fails leaves the record as not-ready, so that StopPodSandbox and RemovePodSandbox
 * can finish what it could not.
 */
import type { SandboxStatus } from './records.ts';

/** Where in its life a pod is. */
export type SandboxPhase = SandboxStatus['phase'];

/** What a client is told: CRI knows two states. */
export type SandboxState = 'ready' | 'not-ready';

/** The state in CRI's terms. Only a ready pod takes containers. */
export function sandboxState(phase: SandboxPhase): SandboxState {
  return phase === 'ready' ? 'ready' : 'not-ready';
}

/** Whether clients see the pod: a half-made one is nobody's business but its maker's. */
export function isVisible(phase: SandboxPhase): boolean {
  return phase !== 'intended';
}

/** Whether containers can be created and started in the pod. */
export function canHoldContainers(phase: SandboxPhase): boolean {
  return phase === 'ready';
}

/** What has to be done about a pod that is found in the records when the daemon starts. */
export type Recovery = 'sweep' | 'take-up' | 'finish-removal' | 'leave';

/** The recovery step of each phase. */
export function recoveryOf(phase: SandboxPhase): Recovery {
  switch (phase) {
    case 'intended':
      return 'sweep';
    case 'ready':
      return 'take-up';
    case 'removing':
      return 'finish-removal';
    case 'not-ready':
      return 'leave';
    default:
      return phase satisfies never;
  }
}
