/**
 * Which runtime a pod gets. Decided once, from typed fields alone, and kept with its reason.
 *
 * A pod that is not asked to be privileged or to share the host's namespaces gets a virtual
 * machine. No annotation leads out of it: an annotation is the pod author's word, and a way from
 * annotations to the host is what CVE-2020-27151 and its kin were. One annotation leads *into* it.
 */
import { HuskError } from '../base/errors.ts';
import { NamespaceMode, type PodSandboxConfig } from '../gen/cri/v1/api.ts';
import { checkNativeAllowed, type NativePolicy } from './native-policy.ts';
import type { RuntimeName } from './records.ts';

/** The values of RuntimeClass's handler that every node knows. */
export const runtimeHandlers: readonly string[] = ['', 'vm', 'native'];
/** More native handlers, each with an OCI runtime of its own: `native-crun`. */
const moreNative = /^native-[a-z0-9][a-z0-9.-]{0,40}$/;

/** Whether the text can be the name of a native handler. */
export function isNativeHandler(handler: string): boolean {
  return handler === 'native' || moreNative.test(handler);
}

/** Says that the pod must have a virtual machine whatever else it asks for. The key is containerd's. */
export const untrustedAnnotation = 'io.kubernetes.cri.untrusted-workload';

/** What the node has and allows. */
export interface RoutingPolicy {
  readonly native: NativePolicy;
  /** Native handlers beside `native`. */
  readonly nativeHandlers: readonly string[];
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
  const namespaces = hostNamespaces(config);
  const host = [...privileges(config), ...namespaces];
  const wantsHost = host[0];
  if (config.annotations[untrustedAnnotation] === 'true') {
    const asked = isNativeHandler(handler) ? `runtime_handler "${handler}"` : wantsHost;
    if (asked !== undefined) throw contradiction(`annotation ${untrustedAnnotation}`, asked);
    return { runtime: 'vm', reason: `annotation ${untrustedAnnotation} is "true"` };
  }
  switch (handler) {
    case 'vm':
      if (namespaces[0] !== undefined) throw contradiction('runtime_handler "vm"', namespaces[0]);
      return {
        runtime: 'vm',
        reason: `runtime_handler is "vm"${wantsHost === undefined ? '' : '; privileged means privileged inside the virtual machine'}`,
      };
    case '':
      if (wantsHost !== undefined) return native(host.join(' and '), config, policy);
      return { runtime: 'vm', reason: 'the pod asks neither for privileges nor for a namespace of the host' };
    default:
      if (handler === 'native' || policy.nativeHandlers.includes(handler)) {
        return native(`runtime_handler is "${handler}"`, config, policy);
      }
      throw new HuskError(
        'invalid-argument',
        `runtime_handler ${JSON.stringify(handler.slice(0, 64))}: no such handler, wanted ${handlerList(policy)}`,
      );
  }
}

const contextField = 'config.linux.security_context';

function privileges(config: PodSandboxConfig): string[] {
  return config.linux?.securityContext?.privileged === true ? [`${contextField}.privileged is true`] : [];
}

/** The fields by which a pod asks for a namespace that only the host has. */
function hostNamespaces(config: PodSandboxConfig): string[] {
  const options = config.linux?.securityContext?.namespaceOptions;
  return (['network', 'pid', 'ipc'] as const)
    .filter((name) => options?.[name] === NamespaceMode.NODE)
    .map((name) => `${contextField}.namespace_options.${name} is NODE`);
}

function native(reason: string, config: PodSandboxConfig, policy: RoutingPolicy): Route {
  checkNativeAllowed(policy.native, config, reason);
  return { runtime: 'native', reason };
}

function handlerList(policy: RoutingPolicy): string {
  return [...runtimeHandlers, ...policy.nativeHandlers].map((name) => `"${name}"`).join(', ');
}

function contradiction(vmSide: string, hostSide: string): HuskError {
  return new HuskError(
    'invalid-argument',
    `choose a runtime: ${vmSide} asks for a virtual machine, but ${hostSide}, which a virtual machine cannot give`,
  );
}
