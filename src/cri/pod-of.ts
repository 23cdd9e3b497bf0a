import type { CriContext } from './context.ts';

/**
 * The full id of the pod that a CRI message is about, by its own id or that of one of its
 * containers; empty for none and for one that is not there. For traces only: it never throws.
 */
export function podOf({ sandboxes, containers }: CriContext['engine'], message: unknown): string {
  if (typeof message !== 'object' || message === null) return '';
  const { podSandboxId, containerId }: { podSandboxId?: unknown; containerId?: unknown } = message;
  try {
    if (typeof podSandboxId === 'string' && podSandboxId !== '') return sandboxes.get(podSandboxId).id;
    if (typeof containerId === 'string' && containerId !== '') return containers.get(containerId).sandboxId;
  } catch {
    // The call itself says that there is no such thing.
  }
  return '';
}
