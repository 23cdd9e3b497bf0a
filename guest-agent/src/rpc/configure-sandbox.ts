import { readdirSync } from 'node:fs';
import { HuskError } from '../../../src/base/errors.ts';
import type { ConfigureSandboxRequest, ConfigureSandboxResponse } from '../../../src/gen/agent/v1/agent.ts';
import { configureBatch } from '../../../src/guest/identity.ts';
import { podPlaces } from '../places.ts';
import type { Pod } from '../pod.ts';
import type { Answer } from '../steps.ts';

/** ConfigureSandbox: identity, network and disks, in one batch of system calls. */
export async function configureSandbox(
  pod: Pod,
  request: ConfigureSandboxRequest,
): Promise<Answer<ConfigureSandboxResponse>> {
  if (pod.configured !== undefined)
    throw new HuskError('failed-precondition', 'configure the sandbox: it was configured already');
  const places = podPlaces(pod.settings);
  const results = await pod.sys.run(configureBatch(request, places, networkDevice()));
  return { randomSample: results.at(-1)?.bytes ?? Buffer.alloc(0) };
}

/** The guest's one network device that is not the loopback. */
function networkDevice(): string | undefined {
  return readdirSync('/sys/class/net').find((name) => name !== 'lo');
}
