/** One way to ask for a container, said twice: as CRI says it, and as a hand-written OCI spec says it. */
import type { OciSpec } from '../../src/oci/runtime-spec.ts';

/** What the reference run may change of the base spec. */
export type SpecChange = (spec: OciSpec) => void;

export interface CompatCase {
  readonly group: string;
  readonly name: string;
  /** Fields of CRI's ContainerConfig on top of image and probe. */
  readonly container?: object;
  /** Fields of CRI's PodSandboxConfig. Cases with equal fields share a pod. */
  readonly pod?: object;
  /** The image to run; `user` has a user of its own in its config. */
  readonly image?: 'plain' | 'user' | 'workdir';
  /** The same for the reference: what somebody who writes config.json for runC by hand would write. */
  readonly reference: SpecChange;
  /** Left out for these runtimes, with the reason. */
  readonly notFor?: Partial<Record<'vm' | 'native', string>>;
}

/** A `linux.security_context` of a container whose PID namespace is its own. */
export function security(fields: object): object {
  return { linux: { securityContext: { namespaceOptions: { pid: 1 }, ...fields } } };
}

/** `linux.resources` of such a container. */
export function resources(fields: object): object {
  return { linux: { resources: fields, securityContext: { namespaceOptions: { pid: 1 } } } };
}

/** Reference: nothing beyond the base spec. */
export const asBase: SpecChange = () => {
  // The base spec is what is meant.
};
