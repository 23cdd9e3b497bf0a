import type { NativePolicy } from './native-policy.ts';

/** What this node lets pods do: set once, when the daemon starts. */
export interface PodPolicy {
  /** What VMs run on. Under `tcg` a virtual machine keeps nobody in. */
  readonly accelerator: 'kvm' | 'tcg';
  /** Run VM pods although the accelerator is `tcg`: for development, demos and tests. */
  readonly allowEmulation: boolean;
  readonly native: NativePolicy;
  /** Native handlers beside `native`. */
  readonly nativeHandlers: readonly string[];
}
