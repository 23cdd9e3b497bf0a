/** What a container in a VM pod cannot have: refused by name, never ignored. Pure. */
import { HuskError } from '../base/errors.ts';
import type { ContainerConfig } from '../gen/cri/v1/api.ts';

const hint = 'run the pod with RuntimeClass handler "native"';

/** @throws HuskError `unimplemented` that names the first field asked for in vain */
export function refuseWhatVmsLack(config: ContainerConfig): void {
  const [cdi] = config.CDIDevices;
  if (cdi !== undefined)
    throw refusal(`config.CDI_devices "${cdi.name.slice(0, 200)}": a VM has no devices of the host`);
  const pid = config.linux?.securityContext?.namespaceOptions?.pid;
  if (pid === 3)
    throw refusal('config.linux.security_context.namespace_options.pid "TARGET": VM pods cannot join a container');
}

function refusal(message: string): HuskError {
  return new HuskError('unimplemented', message, { stage: 'create', hint });
}
