/** What a node lets run natively. Pure; the file it comes from is read in src/cli. */
import { HuskError } from '../base/errors.ts';
import type { PodSandboxConfig } from '../gen/cri/v1/api.ts';

export interface NativePolicy {
  /** Why this node runs no native pods at all; undefined: it runs those that the lists allow. */
  readonly refusal: string | undefined;
  /** Namespaces whose pods may run natively. */
  readonly namespaces?: readonly string[] | undefined;
  /** Service accounts, `NAMESPACE/NAME`, whose pods may. Without either list all may. */
  readonly serviceAccounts?: readonly string[] | undefined;
  /**
   * The annotation that holds a pod's service account. CRI does not tell it, and the pod's author
   * writes annotations: an admission policy of the cluster has to set this one.
   */
  readonly serviceAccountAnnotation?: string | undefined;
}

/** Every pod that asks may run natively. */
export const allowAllNative: NativePolicy = { refusal: undefined };

/**
 * Checks that the pod may run natively.
 *
 * @param reason why it would
 * @throws HuskError `failed-precondition`
 */
export function checkNativeAllowed(policy: NativePolicy, config: PodSandboxConfig, reason: string): void {
  const { refusal, namespaces, serviceAccounts, serviceAccountAnnotation } = policy;
  if (refusal !== undefined) {
    throw new HuskError(
      'failed-precondition',
      `choose a runtime: ${reason}, but this node runs no native pods: ${refusal}`,
      {
        hint: 'ask for none of it, or enable the native runtime on the node',
      },
    );
  }
  if (namespaces === undefined && serviceAccounts === undefined) return;
  const namespace = config.metadata?.namespace ?? '';
  if (namespaces?.includes(namespace) === true) return;
  const account = serviceAccountAnnotation === undefined ? '' : (config.annotations[serviceAccountAnnotation] ?? '');
  if (account !== '' && serviceAccounts?.includes(`${namespace}/${account}`) === true) return;
  const who = account === '' ? '' : ` and service account "${account}"`;
  throw new HuskError(
    'failed-precondition',
    `choose a runtime: ${reason}, but this node runs no native pods of namespace "${namespace}"${who}`,
    { hint: "the node's policy file lists who may" },
  );
}
