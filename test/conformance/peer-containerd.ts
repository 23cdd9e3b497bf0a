/** Debian's containerd with runC and a bridge of its own, as a peer: unpacked, not installed; own folders. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../../src/base/deadline.ts';
import { HuskError } from '../../src/base/errors.ts';
import { run } from '../../src/base/exec.ts';
import { ListPodSandboxRequest } from '../../src/gen/cri/v1/api.ts';
import { type Cri, connectCri } from '../helpers/cri.ts';
import { writeBridgeConfig, writeMirrors } from '../helpers/daemon.ts';
import { unpackDebianPackage } from './debian.ts';
import { cacheFolder } from './prepare.ts';
import { mirroredRegistries } from './stand-ins.ts';

const startMs = 30_000;
const stopMs = 30_000;

/** A running containerd. */
export interface Peer extends AsyncDisposable {
  readonly socket: string;
}

/** Starts it and waits until its CRI answers. */
export async function startContainerd(registryHost: string): Promise<Peer> {
  const bin = join(await unpackDebianPackage('containerd', cacheFolder), 'usr/bin');
  const folder = await mkdtemp(join(tmpdir(), 'husk-peer-'));
  const bridge = `hskp${process.pid % 100_000}`;
  await writeBridgeConfig(join(folder, 'cni'), bridge, 251, join(folder, 'ipam'));
  await writeMirrors(join(folder, 'certs.d'), { to: registryHost, of: mirroredRegistries });
  await writeFile(join(folder, 'config.toml'), configOf(folder));
  await mkdir(join(folder, 'logs'));
  const log = await open(join(folder, 'containerd.log'), 'w');
  const child = spawn(join(bin, 'containerd'), ['--config', join(folder, 'config.toml')], {
    stdio: ['ignore', log.fd, log.fd],
    env: { ...process.env, PATH: `${bin}:${process.env['PATH']}` },
  });
  await log.close();
  const socket = join(folder, 'containerd.sock');
  const cri = connectCri(socket);
  const stop = async (): Promise<void> => {
    await removePods(cri).catch(() => undefined);
    cri.close();
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), stopMs);
      await gone;
      clearTimeout(timer);
    }
    await run('ip', ['link', 'delete', bridge], { timeoutMs: 10_000 }).catch(() => undefined);
    await rm(folder, { recursive: true, force: true });
  };
  const until = performance.now() + startMs;
  for (;;) {
    const answered = await cri.version({ version: '' }, 2_000).catch(() => undefined);
    if (answered !== undefined) return { socket, [Symbol.asyncDispose]: stop };
    if (child.exitCode !== null || performance.now() > until) {
      const text = await readFile(join(folder, 'containerd.log'), 'utf8');
      await stop();
      throw new HuskError(
        'unavailable',
        `start containerd: its CRI does not answer; its log ends: ${text.slice(-2000)}`,
      );
    }
    await sleep(100);
  }
}

async function removePods(cri: Cri): Promise<void> {
  const { items } = await cri.listPodSandbox(ListPodSandboxRequest.fromPartial({}));
  for (const { id: podSandboxId } of items) {
    await cri.stopPodSandbox({ podSandboxId });
    await cri.removePodSandbox({ podSandboxId });
  }
}

function configOf(folder: string): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  return [
    'version = 2',
    `root = "${folder}/root"`,
    `state = "${folder}/state"`,
    `[grpc]\naddress = "${folder}/containerd.sock"`,
    `[ttrpc]\naddress = "${folder}/ttrpc.sock"`,
    `[${cri}]\nsandbox_image = "registry.k8s.io/pause:3.9"\nstream_server_port = "0"`,
    // Where a process may not lower its OOM score, every container would fail.
    'restrict_oom_score_adj = true',
    `[${cri}.cni]\nbin_dir = "/usr/lib/cni"\nconf_dir = "${folder}/cni"`,
    `[${cri}.registry]\nconfig_path = "${folder}/certs.d"`,
    `[plugins."io.containerd.internal.v1.opt"]\npath = "${folder}/opt"\n`,
  ].join('\n');
}
