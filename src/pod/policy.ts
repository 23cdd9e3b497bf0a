/** What this node lets pods do: set once, when the daemon starts. */
export interface PodPolicy {
  /** What VMs run on. Under `tcg` a virtual machine keeps nobody in. */
  readonly accelerator: 'kvm' | 'tcg';
  /** Run VM pods although the accelerator is `tcg`: for development, demos and tests. */
  readonly allowEmulation: boolean;
  /** The namespaces whose pods may run natively; undefined: all, where there is a native runtime. */
  readonly nativeNamespaces: readonly string[] | undefined;
}
