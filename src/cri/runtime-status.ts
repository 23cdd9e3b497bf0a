import type { RuntimeCondition, RuntimeHandler, StatusRequest, StatusResponse } from '../gen/cri/v1/api.ts';
import type { CriContext, HandlerInfo, RuntimeInfo } from './context.ts';

/** Status: polled every few seconds; the network is asked anew each time. */
export async function runtimeStatus(
  { info, network }: Pick<CriContext, 'info' | 'network'>,
  request: StatusRequest,
): Promise<StatusResponse> {
  const net = await network.status();
  return {
    status: {
      conditions: [
        { type: 'RuntimeReady', status: true, reason: '', message: '' },
        { type: 'NetworkReady', status: net.ready, reason: net.reason, message: net.message },
        isolation(info),
      ],
    },
    info: request.verbose ? verbose(info) : {},
    runtimeHandlers: [defaultHandler(info.handlers), ...info.handlers].map(handler),
    features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: false },
  };
}

/** Kubelets ignore conditions they do not know; people and monitoring should not. */
function isolation(info: RuntimeInfo): RuntimeCondition {
  if (info.accelerator === 'kvm') {
    return { type: 'HardwareIsolation', status: true, reason: 'KVM', message: info.acceleratorReason };
  }
  const pods = info.allowEmulation ? 'VM pods run because emulation is allowed' : 'VM pods are refused';
  return {
    type: 'HardwareIsolation',
    status: false,
    reason: 'Emulation',
    message: `virtual machines are emulated (tcg), which isolates nothing; ${pods}: ${info.acceleratorReason}`,
  };
}

function verbose(info: RuntimeInfo): Record<string, string> {
  return {
    husk: JSON.stringify({ version: info.version, cgroupDriver: info.cgroupDriver, handlers: info.handlers }),
    hypervisor: JSON.stringify({
      version: info.hypervisorVersion,
      accelerator: info.accelerator,
      acceleratorReason: info.acceleratorReason,
      allowEmulation: info.allowEmulation,
    }),
  };
}

/**
 * A routed pod may come to run on any of them: it is promised what all can do. Only one with a user namespace is
 * native by no route of its own (src/pod/routing.ts), so what counts there is the virtual machine.
 */
function defaultHandler(handlers: readonly HandlerInfo[]): HandlerInfo {
  return {
    name: '',
    recursiveReadOnlyMounts: handlers.every((each) => each.recursiveReadOnlyMounts),
    userNamespaces: handlers.some(({ name, userNamespaces }) => name === 'vm' && userNamespaces),
  };
}

/** What a handler cannot do is said to be so: the kubelet then refuses such pods by itself. */
function handler({ name, recursiveReadOnlyMounts, userNamespaces }: HandlerInfo): RuntimeHandler {
  return { name, features: { recursiveReadOnlyMounts, userNamespaces } };
}
