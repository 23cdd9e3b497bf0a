/** A huskd of the test's own: own folders, own bridge and subnet, ended and cleaned up with the test. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '../../src/base/deadline.ts';
import { run } from '../../src/base/exec.ts';
import { ListPodSandboxRequest } from '../../src/gen/cri/v1/api.ts';
import { type Cri, connectCri } from './cri.ts';

const repository = join(import.meta.dirname, '../..');
/** A first start boots a guest under emulation and makes a template of it: 25 s on a quiet machine with two cores. */
const startDeadlineMs = 240_000;
/** 10.211.0.0/24 to 10.250.255.0/24: daemons side by side hardly ever meet. */
const subnets = 40 * 256;
const stopDeadlineMs = 30_000;

export interface DaemonOptions {
  /** `HOST:PORT` of a plain-HTTP registry that stands in for these registries. */
  readonly mirror?: { readonly to: string; readonly of: readonly string[] };
  /** More flags, `--name=value`. */
  readonly flags?: readonly string[];
  /** Folder to work in; made when absent, then removed with the daemon. */
  readonly folder?: string;
  /** Environment variables, for fault injection. */
  readonly env?: Readonly<Record<string, string>>;
  /** In a process group of its own: an interrupt on the terminal reaches the test alone, which takes it away. */
  readonly ownGroup?: boolean;
  /** CNI configuration to use in place of the bridge. */
  readonly cniNetDir?: string;
}

export interface Daemon {
  readonly cri: Cri;
  readonly folder: string;
  readonly bridge: string;
  readonly socket: string;
  readonly pid: number;
  log(): Promise<string>;
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same folders. */
  restart(env?: Readonly<Record<string, string>>): Promise<void>;
  /** Asks it to end, and removes its bridge and, when it made it, its folder. */
  stop(): Promise<void>;
}

/** Starts a daemon and waits until it answers. */
export async function startDaemon(options: DaemonOptions = {}): Promise<Daemon> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'husk-test-')));
  // The gateway and the image worker, users of their own, must get through.
  await chmod(folder, 0o711);
  const subnet = randomInt(0, subnets);
  const bridge = `hsk${process.pid % 100_000}x${subnet}`;
  const cniNetDir = options.cniNetDir ?? join(folder, 'cni');
  if (options.cniNetDir === undefined) await writeBridgeConfig(cniNetDir, bridge, subnet, join(folder, 'ipam'));
  if (options.mirror !== undefined) await writeMirrors(join(folder, 'certs.d'), options.mirror);
  const socket = join(folder, 'run/husk.sock');
  const args = [
    `--listen=unix://${socket}`,
    `--root-directory=${join(folder, 'lib')}`,
    `--state-directory=${join(folder, 'run')}`,
    `--guest-image=${join(repository, 'build/guest-image/current')}`,
    `--bin-directory=${join(repository, 'build/bin')}`,
    `--cni-net-dir=${cniNetDir}`,
    '--cni-plugin-dir=/opt/cni/bin,/usr/lib/cni',
    `--registry-config-dir=${join(folder, 'certs.d')}`,
    '--allow-emulation=true',
    `--config=${join(folder, 'none.toml')}`,
    ...(options.flags ?? []),
  ];
  let child = await launch(args, folder, options, options.env);
  const cri = connectCri(socket);
  await answering(cri, child, folder);
  return {
    cri,
    folder,
    bridge,
    socket,
    get pid() {
      return child.pid as number;
    },
    log: () => readFile(join(folder, 'huskd.log'), 'utf8'),
    async kill() {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
    async restart(env) {
      await hasEnded(child);
      child = await launch(args, folder, options, env);
      await answering(cri, child, folder);
    },
    async stop() {
      await removePods(cri).finally(() => cri.close());
      await end(child);
      await run('ip', ['link', 'delete', bridge], { timeoutMs: 10_000 }).catch(() => undefined);
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

async function launch(
  args: readonly string[],
  folder: string,
  { ownGroup = false }: Pick<DaemonOptions, 'ownGroup'>,
  env: Readonly<Record<string, string>> = {},
): Promise<ChildProcess> {
  await mkdir(folder, { recursive: true });
  const log = await open(join(folder, 'huskd.log'), 'a');
  try {
    return spawn(join(repository, 'bin/huskd'), [...args], {
      stdio: ['ignore', log.fd, log.fd],
      env: { ...process.env, ...env },
      detached: ownGroup,
    });
  } finally {
    await log.close();
  }
}

async function answering(cri: Cri, child: ChildProcess, folder: string): Promise<void> {
  const until = performance.now() + startDeadlineMs;
  for (;;) {
    const answered = await cri.version({ version: '' }, 2_000).then(
      () => true,
      () => false,
    );
    if (answered) return;
    if (child.exitCode !== null || performance.now() > until) {
      const log = await readFile(join(folder, 'huskd.log'), 'utf8');
      child.kill('SIGKILL');
      throw new Error(`huskd does not answer (exit code ${child.exitCode}); its log ends with:\n${log.slice(-3000)}`);
    }
    await sleep(50);
  }
}

/** One that kills itself may take a moment. Two at once would leave one behind. */
async function hasEnded(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await once(child, 'exit', { signal: AbortSignal.timeout(5_000) }).catch((cause: unknown) => {
    throw new Error(`huskd ${child.pid} still runs: kill it before it is started again`, { cause });
  });
}

/** Pods outlive their daemon: take them away while it answers. */
async function removePods(cri: Cri): Promise<void> {
  const { items } = await cri.listPodSandbox(ListPodSandboxRequest.fromPartial({}));
  for (const { id: podSandboxId } of items) {
    await cri.stopPodSandbox({ podSandboxId });
    await cri.removePodSandbox({ podSandboxId });
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), stopDeadlineMs);
  const [code] = await gone;
  clearTimeout(timer);
  if (code !== 0) throw new Error(`huskd ended with code ${code} and signal ${child.signalCode} when asked to stop`);
}

/** Writes a CNI configuration: a bridge with both address families, and port mappings. */
export async function writeBridgeConfig(folder: string, bridge: string, subnet: number, leases: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const config = {
    cniVersion: '1.0.0',
    name: bridge,
    plugins: [
      {
        type: 'bridge',
        bridge,
        isGateway: true,
        ipMasq: false,
        ipam: {
          type: 'host-local',
          dataDir: leases,
          ranges: [
            [{ subnet: `10.${211 + (subnet >> 8)}.${subnet & 255}.0/24` }],
            [{ subnet: `fd00:211:${subnet.toString(16)}::/64` }],
          ],
          routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  };
  await writeFile(join(folder, '10-husk.conflist'), JSON.stringify(config));
}

/** Writes `hosts.toml` files that lead to a plain-HTTP registry. */
export async function writeMirrors(folder: string, mirror: { to: string; of: readonly string[] }): Promise<void> {
  for (const host of [...mirror.of, mirror.to]) {
    await mkdir(join(folder, host), { recursive: true });
    await writeFile(
      join(folder, host, 'hosts.toml'),
      `[host."http://${mirror.to}"]\n  capabilities = ["pull", "resolve"]\n`,
    );
  }
}
