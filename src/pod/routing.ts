/**
 * Which runtime a pod gets. Decided once, from typed fields alone, and kept with its reason.
 *
 * A pod that is not asked to be privileged or to share the host's namespaces gets a virtual
 * machine. No annotation leads out of it: an annotation is the pod author's word, and a way from
 * annotations to the host is what CVE-2020-27151 and its kin were. One annotation leads *into* it.
 */
import { HuskError } from '../base/errors.ts';
import { NamespaceMode, type PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { RuntimeName } from './records.ts';

/** The values of RuntimeClass's handler that are known. */
export const runtimeHandlers = ['', 'vm', 'native'] as const;

/** Says that the pod must have a virtual machine whatever else it asks for. The key is containerd's. */
export const untrustedAnnotation = 'io.kubernetes.cri.untrusted-workload';

/** What the node allows. */
export interface RoutingPolicy {
  /** Whether there is a native runtime at all. */
  readonly nativeEnabled: boolean;
  /** The namespaces whose pods may run natively; undefined: all. */
  readonly nativeNamespaces: readonly string[] | undefined;
}

export interface Route {
  readonly runtime: RuntimeName;
  /** Why, in a sentence. */
  readonly reason: string;
}

/**
 * Chooses the runtime.
 *
 * @throws HuskError `invalid-argument` for an unknown handler or a request that contradicts
 *   itself, `failed-precondition` when the node does not allow what is asked for
 */
export function chooseRuntime(config: PodSandboxConfig, handler: string, policy: RoutingPolicy): Route {
  const host = hostAccess(config);
  const wantsHost = host[0];
  if (config.annotations[untrustedAnnotation] === 'true') {
    const asked = handler === 'native' ? 'runtime_handler "native"' : wantsHost;
    if (asked !== undefined) throw contradiction(`annotation ${untrustedAnnotation}`, asked);
    return { runtime: 'vm', reason: `annotation ${untrustedAnnotation} is "true"` };
  }
  switch (handler) {
    case 'vm':
      if (wantsHost !== undefined) throw contradiction('runtime_handler "vm"', wantsHost);
      return { runtime: 'vm', reason: 'runtime_handler is "vm"' };
    case 'native':
      return native('runtime_handler is "native"', config, policy);
    case '':
      if (wantsHost !== undefined) return native(host.join(' and '), config, policy);
      return { runtime: 'vm', reason: 'the pod asks neither for privileges nor for a namespace of the host' };
    default:
      throw new HuskError(
        'invalid-argument',
        `runtime_handler ${JSON.stringify(handler.slice(0, 64))}: no such handler, wanted "", "vm" or "native"`,
      );
  }
}

/** The fields by which a pod asks for what only the host has. */
function hostAccess(config: PodSandboxConfig): string[] {
  const context = config.linux?.securityContext;
  const options = context?.namespaceOptions;
  const field = 'config.linux.security_context';
  const asked: string[] = [];
  if (context?.privileged === true) asked.push(`${field}.privileged is true`);
  if (options?.network === NamespaceMode.NODE) asked.push(`${field}.namespace_options.network is NODE`);
  if (options?.pid === NamespaceMode.NODE) asked.push(`${field}.namespace_options.pid is NODE`);
  if (options?.ipc === NamespaceMode.NODE) asked.push(`${field}.namespace_options.ipc is NODE`);
  return asked;
}

function native(reason: string, config: PodSandboxConfig, policy: RoutingPolicy): Route {
  if (!policy.nativeEnabled) {
    throw new HuskError('failed-precondition', `choose a runtime: ${reason}, but this node runs no native pods`, {
      hint: 'ask for none of it, or enable the native runtime on the node',
    });
  }
  const namespace = config.metadata?.namespace ?? '';
  if (policy.nativeNamespaces?.includes(namespace) === false) {
    throw new HuskError(
      'failed-precondition',
      `choose a runtime: ${reason}, but this node runs no native pods of namespace "${namespace}"`,
    );
  }
  return { runtime: 'native', reason };
}

function contradiction(vmSide: string, hostSide: string): HuskError {
  return new HuskError(
    'invalid-argument',
    `choose a runtime: ${vmSide} asks for a virtual machine, but ${hostSide}, which a virtual machine cannot give`,
  );
}
