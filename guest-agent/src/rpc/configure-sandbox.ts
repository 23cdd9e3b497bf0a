import { readdirSync } from 'node:fs';
import { HuskError } from '../../../src/base/errors.ts';
import type { ConfigureSandboxRequest, ConfigureSandboxResponse } from '../../../src/gen/agent/v1/agent.ts';
import { configureBatch } from '../configure.ts';
import { podPlaces } from '../places.ts';
import type { Pod } from '../pod.ts';
import { runTool } from '../tool.ts';

const pauseMs = 10_000;

/** ConfigureSandbox: identity, network and disks, in one batch of system calls. */
export async function configureSandbox(pod: Pod, request: ConfigureSandboxRequest): Promise<ConfigureSandboxResponse> {
  if (pod.configured) throw new HuskError('failed-precondition', 'configure the sandbox: it was configured already');
  const places = { ...podPlaces(pod.settings), dataDisk: pod.dataDisk };
  const results = await pod.sys.run(configureBatch(request, places, networkDevice()));
  if (request.sharedPidNamespace) pod.pausePid = await startPause(pod.settings.pausePath);
  pod.hasResolvConf = request.resolvConf !== '';
  pod.configured = true;
  return { randomSample: results.at(-1)?.bytes ?? Buffer.alloc(0) };
}

/** The guest's one network device that is not the loopback. */
function networkDevice(): string | undefined {
  return readdirSync('/sys/class/net').find((name) => name !== 'lo');
}

async function startPause(path: string): Promise<number> {
  const { exitCode, stdout, stderr } = await runTool(path, [], { timeoutMs: pauseMs });
  const pid = Number(stdout);
  if (exitCode === 0 && Number.isInteger(pid) && pid > 1) return pid;
  throw new HuskError('internal', `start the shared PID namespace: exit code ${exitCode}: ${stderr.slice(0, 200)}`);
}
