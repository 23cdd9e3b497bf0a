/** What a figure depends on: the machine, the versions, and what else ran. */
import { existsSync, readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { run } from '../../src/base/exec.ts';
import type { LoadLook } from './load.ts';

export interface Conditions {
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly kernel: string;
    readonly cgroups: 'v1' | 'v2';
    readonly distribution: string;
  };
  readonly accelerator: string;
  readonly acceleratorReason: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Processes that are kept ready for pods that may come, with what they cost; counted in memory and CPU. */
  readonly pool: string;
  readonly load: readonly LoadLook[];
}

/** Facts of this machine. */
export function machine(): Conditions['machine'] {
  const [first] = cpus();
  return {
    cpu: first?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    cgroups: existsSync('/sys/fs/cgroup/cgroup.controllers') ? 'v2' : 'v1',
    distribution: /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown',
  };
}

/** Versions of the programs that take part; what is not there is said to be so. */
export async function versions(repository: string): Promise<Record<string, string>> {
  const first = async (file: string, args: readonly string[]): Promise<string> => {
    const text = await run(file, args, { timeoutMs: 10_000 }).catch(() => 'missing');
    return text.split('\n', 1)[0]?.trim() ?? '';
  };
  const git = (...args: string[]): Promise<string> => first('git', ['-C', repository, ...args]);
  const changed = await run('git', ['-C', repository, 'status', '--porcelain'], { timeoutMs: 10_000 }).catch(() => '');
  return {
    husk: `${await git('rev-parse', '--short', 'HEAD')}${changed === '' ? '' : ' with changes'}`,
    node: process.version,
    qemu: await first('qemu-system-x86_64', ['--version']),
    containerd: await first('containerd', ['--version']),
    runc: await first('runc', ['--version']),
  };
}
