/** The life of one container before there is a pod: what it runs is compiled and in memory in every clone. */
import { EventEmitter } from 'node:events';
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { CreateContainerRequest, type ExecMessage, type ExecRequest } from '../../../src/gen/agent/v1/agent.ts';
import { defaultCapabilities } from '../../../src/oci/capabilities.ts';
import { defaultSeccompProfile } from '../../../src/oci/seccomp.ts';
import { containerPlaces, podPlaces } from '../places.ts';
import { Pod } from '../pod.ts';
import { createContainer } from '../rpc/create-container.ts';
import { exec } from '../rpc/exec.ts';
import { removeContainer } from '../rpc/remove-container.ts';
import { startContainer } from '../rpc/start-container.ts';
import { stats } from '../rpc/stats.ts';
import { stopContainer } from '../rpc/stop-container.ts';
import { preparedSpec } from './plan.ts';

const id = '0';
const program = '/bin/busybox';

/** Creates, starts, enters, measures, stops and removes a container of the guest's own busybox. Nothing of it is left. */
export async function rehearse(real: Pod): Promise<void> {
  // One of its own, so that nobody hears of its container.
  const pod = new Pod(real);
  pod.prepared = real.prepared;
  const { upper, written } = containerPlaces(pod.settings, id);
  const { hostnameFile, resolvConfFile, bootIdFile, shmFolder } = podPlaces(pod.settings);
  const files = [hostnameFile, resolvConfFile, bootIdFile];
  pod.rehearsing = true;
  try {
    for (const path of [`${upper}/bin`, `${upper}/etc`, shmFolder]) mkdirSync(path, { recursive: true });
    copyFileSync('/usr/bin/busybox', upper + program);
    writeFileSync(`${upper}/etc/passwd`, 'root:x:0:0:root:/root:/bin/sh\n');
    for (const file of files) writeFileSync(file, '\n');
    await createContainer(pod, CreateContainerRequest.decode(CreateContainerRequest.encode(wish()).finish()));
    await startContainer(pod, { containerId: id });
    for (let round = 0; round < 2; round += 1) await exec(pod, silentCall());
    await stats(pod, { details: false });
    await stopContainer(pod, { containerId: id, signal: 'KILL', graceMs: 0n, signalOnly: false });
  } finally {
    await removeContainer(pod, { containerId: id });
    for (const file of files) rmSync(file, { force: true });
    rmSync(written, { recursive: true, force: true });
    // What it left is not to be collected in every clone.
    setFlagsFromString('--expose-gc');
    (runInNewContext('gc') as () => void)();
  }
}

function wish(): CreateContainerRequest {
  const spec = preparedSpec('', `/pod/${id}`, defaultCapabilities);
  const process = { ...spec.process, args: [program, 'sleep', '60'], env: ['PATH=/bin'] };
  const linux = { ...spec.linux, seccomp: defaultSeccompProfile(defaultCapabilities) };
  const specJson = Buffer.from(JSON.stringify({ ...spec, process, linux }));
  return CreateContainerRequest.fromPartial({ containerId: id, specJson, user: { user: '' } });
}

/** Stands in for a call of the host, and forgets what it is told. */
function silentCall(): Parameters<typeof exec>[1] {
  const request: ExecRequest = { containerId: id, command: [program, 'true'], tty: false, timeoutMs: 0n };
  const write = (_message: ExecMessage): boolean => true;
  const call = Object.assign(new EventEmitter(), { request, cancelled: false, write, end: () => undefined });
  return call as unknown as Parameters<typeof exec>[1];
}
