/** `make demo`: one pod in a virtual machine of its own, over CRI, from nothing, and nothing left. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '../../src/base/deadline.ts';
import { run } from '../../src/base/exec.ts';
import { CreateContainerRequest, PullImageRequest, RunPodSandboxRequest } from '../../src/gen/cri/v1/api.ts';
import { busyboxImage } from '../fixtures/oci-image.ts';
import { pushImage, startRegistry } from '../fixtures/registry.ts';
import { type Daemon, startDaemon } from '../helpers/daemon.ts';
import { podConfig, shell } from '../helpers/pods.ts';

const imageName = 'docker.io/library/busybox:latest';
const logWaitMs = 20_000;

const started = performance.now();
const say = (text: string): void =>
  console.log(`[${((performance.now() - started) / 1000).toFixed(1).padStart(6)} s] ${text}`);

say('a registry on loopback, filled from Debian’s busybox-static');
const registry = await startRegistry();
try {
  await pushImage(registry, 'library/busybox:latest', busyboxImage());
  say('huskd on folders of its own, emulation allowed (it builds its VM template on the first start)');
  const daemon = await startDaemon({ mirror: { to: registry.host, of: ['docker.io'] } });
  try {
    await demonstrate(daemon);
  } finally {
    await daemon.stop();
  }
} finally {
  await registry.stop();
}
say('cleaned up');

async function demonstrate(daemon: Daemon): Promise<void> {
  const { cri } = daemon;
  const { runtimeName, runtimeVersion } = await cri.version({ version: '' });
  say(`${runtimeName} ${runtimeVersion} answers on ${daemon.socket}`);
  const { imageRef } = await cri.pullImage(PullImageRequest.fromPartial({ image: { image: imageName } }));
  say(`pulled ${imageName}: ${imageRef}`);

  const logs = join(daemon.folder, 'logs');
  const config = podConfig({ hostname: 'demo' }, logs);
  const { podSandboxId } = await cri.runPodSandbox(RunPodSandboxRequest.fromPartial({ config } as object));
  const { status } = await cri.podSandboxStatus({ podSandboxId, verbose: false });
  say(`pod ${podSandboxId.slice(0, 12)} is ready in a VM of its own, address ${status?.network?.ip}`);

  const line = 'echo "hello from $(hostname)"; echo "kernel: $(uname -r)"; sleep 600';
  const container = shell(imageName, line, { metadata: { name: 'hello', attempt: 0 }, logPath: 'hello.log' });
  const { containerId } = await cri.createContainer(
    CreateContainerRequest.fromPartial({ podSandboxId, config: container, sandboxConfig: config } as object),
  );
  say(`container ${containerId.slice(0, 12)} is created`);
  await cri.startContainer({ containerId });
  say('and started; its log:');
  console.log(indent(await logWhenWritten(join(logs, 'hello.log'))));

  const { stdout, exitCode } = await cri.execSync({ containerId, cmd: ['cat', '/proc/version'], timeout: 30n });
  say(`ExecSync "cat /proc/version" ended with ${exitCode} and said:`);
  console.log(indent(stdout.toString().trim()));

  say('where the time of the pod’s start went:');
  const husk = join(import.meta.dirname, '../../bin/husk');
  console.log(
    indent(await run(husk, ['-r', `unix://${daemon.socket}`, 'timeline', podSandboxId], { timeoutMs: 20_000 })),
  );

  await cri.stopPodSandbox({ podSandboxId });
  await cri.removePodSandbox({ podSandboxId });
  say('the pod is stopped and removed');
}

async function logWhenWritten(path: string): Promise<string> {
  const until = performance.now() + logWaitMs;
  for (;;) {
    const text = await readFile(path, 'utf8').catch(() => '');
    if (text.includes('kernel:') || performance.now() > until) return text.trim();
    await sleep(50);
  }
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, '           | ');
}
