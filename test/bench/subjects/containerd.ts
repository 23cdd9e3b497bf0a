/** Debian's containerd with runC, on folders, a bridge and a socket of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../../../src/base/deadline.ts';
import { HuskError } from '../../../src/base/errors.ts';
import { run } from '../../../src/base/exec.ts';
import { ListContainersRequest, ListPodSandboxRequest } from '../../../src/gen/cri/v1/api.ts';
import { type Cri, connectCri } from '../../helpers/cri.ts';
import { writeBridgeConfig, writeMirrors } from '../../helpers/daemon.ts';
import { descendantsOf, ownedBy, type Process, readProcesses } from '../processes.ts';
import type { Subject, SubjectProcesses } from './subject.ts';

export interface ContainerdOptions {
  /** `HOST:PORT` of the registry that stands in for docker.io. */
  readonly registry: string;
  /** Image of the sandbox container, under docker.io. */
  readonly pauseImage: string;
  /** Third part of the address range of its pods: 10.211.N.0/24. */
  readonly subnet: number;
}

const startMs = 30_000;
const stopMs = 20_000;
const program = 'containerd';

/** Starts it and waits until it answers. @throws HuskError `not-found` when it is not installed */
export async function startContainerd({ registry, pauseImage, subnet }: ContainerdOptions): Promise<Subject> {
  const folder = await mkdtemp(join(tmpdir(), 'husk-bench-ctrd-'));
  const bridge = `hbc${process.pid % 100_000}x${subnet}`;
  const socket = join(folder, 'c.sock');
  await mkdir(join(folder, 'cni'), { recursive: true });
  await writeBridgeConfig(join(folder, 'cni'), bridge, subnet, join(folder, 'ipam'));
  await writeMirrors(join(folder, 'certs.d'), { to: registry, of: ['docker.io'] });
  await writeFile(join(folder, 'config.toml'), configText(folder, socket, pauseImage));
  const child = await launch(folder);
  const cri = connectCri(socket);
  const owns = ownedBy({ mark: folder, session: child.pid as number });
  const stop = async (): Promise<void> => {
    // Only who answers can take its pods away; the rest happens in any case.
    const left = await removePods(cri).then(
      () => undefined,
      (caught: unknown) => caught,
    );
    cri.close();
    await end(child);
    await killAll(owns);
    await unmountBelow(folder);
    await run('ip', ['link', 'delete', bridge], { timeoutMs: 10_000 }).catch(() => undefined);
    await rm(folder, { recursive: true, force: true });
    // Where shims keep their sockets, whatever the configuration says; a folder in use stays.
    for (const path of ['/run/containerd/s', '/run/containerd']) await rmdir(path).catch(() => undefined);
    if (left !== undefined) throw HuskError.from(left, 'remove the pods of containerd');
  };
  try {
    await answering(cri, child, folder);
  } catch (caught) {
    await stop().catch(() => undefined);
    throw caught;
  }
  const processes = (): SubjectProcesses => processesOf(owns);
  const streamingServer = (): number => child.pid as number;
  return { name: program, cri, folder, bridge, socket, owns, processes, streamingServer, stop };
}

/** Shims are management, whatever a shim has started is workload. */
function processesOf(owns: (process: Process) => boolean): SubjectProcesses {
  const all = readProcesses();
  const mine = [...descendantsOf(all, owns)];
  const management = mine.filter((pid) => {
    const name = all.get(pid)?.name ?? '';
    return name.startsWith(program);
  });
  const chosen = new Set(management);
  return { management, workload: mine.filter((pid) => !chosen.has(pid)) };
}

function configText(folder: string, socket: string, pauseImage: string): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  return `version = 2
root = "${folder}/lib"
state = "${folder}/run"
[grpc]
  address = "${socket}"
[${cri}]
  sandbox_image = "${pauseImage}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  netns_mounts_under_state_dir = true
[${cri}.cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "${folder}/cni"
[${cri}.registry]
  config_path = "${folder}/certs.d"
[${cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[${cri}.containerd.runtimes.runc.options]
  Root = "${folder}/runc"
[plugins."io.containerd.internal.v1.opt"]
  path = "${folder}/opt"
`;
}

async function launch(folder: string): Promise<ChildProcess> {
  const log = await open(join(folder, 'containerd.log'), 'a');
  try {
    // Detached: an interrupt on the terminal is for the harness, which first removes the pods.
    const child = spawn(program, ['--config', join(folder, 'config.toml')], {
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
    });
    const failed = once(child, 'error').then(([error]: unknown[]) => error);
    const started = once(child, 'spawn').then(() => undefined);
    const error = await Promise.race([failed, started]);
    if (error === undefined) return child;
    throw new HuskError('not-found', `run "${program}": not installed`, {
      cause: error,
      hint: 'apt-get install containerd',
    });
  } finally {
    await log.close();
  }
}

async function answering(cri: Cri, child: ChildProcess, folder: string): Promise<void> {
  const until = performance.now() + startMs;
  for (;;) {
    const answered = await cri.version({ version: '' }, 1_000).then(
      () => true,
      () => false,
    );
    if (answered) return;
    if (child.exitCode !== null || performance.now() > until) {
      const log = await readFile(join(folder, 'containerd.log'), 'utf8');
      throw new HuskError('unavailable', `start containerd: no answer; its log ends with "${log.slice(-800)}"`);
    }
    await sleep(50);
  }
}

async function removePods(cri: Cri): Promise<void> {
  const { items } = await cri.listPodSandbox(ListPodSandboxRequest.fromPartial({}));
  for (const { id: podSandboxId } of items) {
    await cri.stopPodSandbox({ podSandboxId });
    await cri.removePodSandbox({ podSandboxId });
  }
  const { containers } = await cri.listContainers(ListContainersRequest.fromPartial({}));
  for (const { id: containerId } of containers) await cri.removeContainer({ containerId });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), stopMs);
  await gone;
  clearTimeout(timer);
}

/** Shims of pods that could not be removed. */
async function killAll(owns: (process: Process) => boolean): Promise<void> {
  const all = readProcesses();
  for (const pid of descendantsOf(all, owns)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Ended meanwhile.
    }
  }
  await sleep(descendantsOf(all, owns).size === 0 ? 0 : 200);
}

async function unmountBelow(folder: string): Promise<void> {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path.startsWith(`${folder}/`));
  for (const path of points.toReversed()) await run('umount', ['-l', path], { timeoutMs: 10_000 });
}
