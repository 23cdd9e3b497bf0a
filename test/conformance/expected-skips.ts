/** Specs that may be skipped, each with its reason. Whatever else is skipped fails the run. */

export interface ExpectedSkip {
  /** What the spec's full name matches. */
  readonly spec: RegExp;
  readonly reason: string;
  /** Kept from running by name, since the suite itself would run it. */
  readonly byName?: boolean;
}

export const expectedSkips: readonly ExpectedSkip[] = [
  {
    spec: /\[k8s\.io\] AppArmor /,
    reason: 'the suite loads profiles into the host kernel, and the containers of a VM pod run under the guest kernel',
    byName: true,
  },
  {
    spec: /\[k8s\.io\] NRI /,
    reason: 'needs a runtime with the Node Resource Interface (-nri-socket); husk has none',
  },
  {
    spec: /public image with digest should be pulled and removed/,
    reason: 'its image is named by digest: the bytes are in a registry of Google alone and cannot be built',
    byName: true,
  },
];

/** The reason why this spec may be skipped, if it may. */
export function expectedSkip(spec: string): string | undefined {
  return expectedSkips.find((expected) => expected.spec.test(spec))?.reason;
}
