/** `husk run` on folders, a bridge and a registry of the test's own. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../src/base/exec.ts';
import { busyboxImage } from '../fixtures/oci-image.ts';
import { pushImage, startRegistry } from '../fixtures/registry.ts';
import { writeBridgeConfig, writeMirrors } from './daemon.ts';

const repository = join(import.meta.dirname, '../..');
const subnets = 40 * 256;

export interface RunResult {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunBench {
  readonly folder: string;
  readonly bridge: string;
  /** What a run must not leave, for helpers/holdings.ts. */
  readonly root: string;
  readonly folders: readonly string[];
  /** The words of a command line that runs `busybox` with the options before and the command after it. */
  words(options: readonly string[], command: readonly string[]): string[];
  /** Starts one. */
  start(options: readonly string[], command: readonly string[], spawning?: SpawnOptions): ChildProcess;
  /** Runs one to its end. */
  run(options: readonly string[], command: readonly string[], input?: Buffer | string): Promise<RunResult>;
  close(): Promise<void>;
}

/** The folder's name is short: sockets lie deep in it. */
export async function startRunBench(): Promise<RunBench> {
  const folder = await mkdtemp('/tmp/hr-');
  await run('chmod', ['0711', folder], { timeoutMs: 5_000 });
  const subnet = randomInt(0, subnets);
  const bridge = `hrn${process.pid % 100_000}x${subnet}`;
  await mkdir(join(folder, 'r'), { mode: 0o711 });
  await writeBridgeConfig(join(folder, 'cni'), bridge, subnet, join(folder, 'ipam'));
  const registry = await startRegistry();
  await pushImage(registry, 'library/busybox:latest', busyboxImage());
  await writeMirrors(join(folder, 'certs.d'), { to: registry.host, of: ['docker.io'] });
  const settings = [
    `--root-directory=${join(folder, 'lib')}`,
    `--state-directory=${join(folder, 'r')}`,
    `--guest-image=${join(repository, 'build/guest-image/current')}`,
    `--bin-directory=${join(repository, 'build/bin')}`,
    `--cni-net-dir=${join(folder, 'cni')}`,
    `--registry-config-dir=${join(folder, 'certs.d')}`,
    `--config=${join(folder, 'none.toml')}`,
    '--allow-emulation=true',
  ];
  const words = (options: readonly string[], command: readonly string[]): string[] => [
    ...[join(repository, 'bin/husk'), 'run', ...settings, ...options, 'busybox', ...command],
  ];
  const start: RunBench['start'] = (options, command, spawning = {}) => {
    const [program = '', ...args] = words(options, command);
    return spawn(program, args, spawning);
  };
  return {
    folder,
    bridge,
    root: join(folder, 'lib/direct'),
    folders: ['r', 'lib/direct/runs', 'lib/direct/images/work'],
    words,
    start,
    async run(options, command, input = '') {
      const child = start(options, command);
      const exit = once(child, 'exit');
      child.stdin?.on('error', () => undefined);
      child.stdin?.end(input);
      const [stdout, stderr] = await Promise.all([child.stdout?.toArray(), child.stderr?.toArray()]);
      const [code] = await exit;
      return {
        code: Number(code),
        stdout: Buffer.concat(stdout ?? []),
        stderr: Buffer.concat(stderr ?? []).toString(),
      };
    },
    async close() {
      await registry.stop();
      await run('ip', ['link', 'delete', bridge], { timeoutMs: 10_000 }).catch(() => undefined);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
