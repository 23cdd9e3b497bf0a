/** Taking a native container away, whatever state it is in. */
import { existsSync } from 'node:fs';
import { everyStep } from '../base/every-step.ts';
import { PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { SandboxRecord } from '../pod/records.ts';
import type { NativeContext } from './context.ts';
import { removeTree } from './mounts.ts';
import { containerPlaces, podPlaces } from './places.ts';
import { isConmonOf, readPidFile, signalNumber, signalProcess, until } from './processes.ts';
import { unmountRoot } from './root-fs.ts';

/** conmon ends by itself once its container has ended. */
const conmonEndMs = 5_000;

/** Kills what runs of it and removes every trace. Absent is fine. Runs every step, whatever fails. */
export async function destroyContainer(
  context: NativeContext,
  sandbox: SandboxRecord,
  containerId: string,
): Promise<void> {
  const { options, layers, exits } = context;
  const config = PodSandboxConfig.decode(Buffer.from(sandbox.configBase64, 'base64'));
  const place = { parent: config.linux?.cgroupParent ?? '', sandboxId: sandbox.id };
  const places = containerPlaces(podPlaces(options, sandbox.id), containerId);
  if (existsSync(places.folder)) {
    await everyStep([
      ['oci runtime', () => context.runtimeOf(sandbox).delete(containerId)],
      ['processes', () => options.cgroups.kill(place, containerId)],
      ['conmon', () => endConmon(places.conmonPidFile, containerId)],
      ['root', () => unmountRoot(layers, containerId, places)],
      ['folder', () => removeTree(places.folder)],
    ]);
  }
  await exits.forget(containerId);
}

async function endConmon(pidFile: string, containerId: string): Promise<void> {
  const pid = await readPidFile(pidFile);
  if (pid === undefined) return;
  const gone = async (): Promise<boolean> => !(await isConmonOf(pid, containerId));
  if (await until(conmonEndMs, gone)) return;
  signalProcess(pid, signalNumber('KILL'));
  await until(conmonEndMs, gone);
}
