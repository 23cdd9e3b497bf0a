/** What this host and this process can give to a container. Read once, at start. */
import { access, readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { allCapabilities } from '../oci/capabilities.ts';

export interface HostFacts {
  /** Capabilities of this process: a container cannot have more. */
  readonly capabilities: ReadonlySet<string>;
  /** The most open files a process may be allowed here. */
  readonly maxOpenFiles: number;
  /** The lowest oom_score_adj that the kernel lets us give. */
  readonly leastOomScoreAdj: number;
  readonly appArmor: boolean;
  readonly selinux: boolean;
  /** Owners of files in squashfs can be mapped to a user namespace (mount_setattr(2): since Linux 6.2). */
  readonly mapsLayers: boolean;
}

/** Looks at /proc and /sys. */
export async function readHostFacts(): Promise<HostFacts> {
  const capabilities = parseCapabilities(await readFile('/proc/self/status', 'latin1'));
  const powerful = capabilities.has('CAP_SYS_RESOURCE');
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const own = Number(await readFile('/proc/self/oom_score_adj', 'latin1'));
  return {
    capabilities,
    maxOpenFiles: powerful ? Number.MAX_SAFE_INTEGER : parseMaxOpenFiles(await readFile('/proc/self/limits', 'latin1')),
    leastOomScoreAdj: powerful ? -1000 : own,
    appArmor: (await readFile('/sys/module/apparmor/parameters/enabled', 'latin1').catch(() => 'N')).startsWith('Y'),
    selinux: await access('/sys/fs/selinux/enforce').then(
      () => true,
      () => false,
    ),
    mapsLayers: major > 6 || (major === 6 && minor >= 2),
  };
}

/** The effective set of /proc/PID/status (proc(5)): one bit for each capability, by its number. */
export function parseCapabilities(status: string): Set<string> {
  const bits = BigInt(`0x${/^CapEff:\s*([0-9a-f]{1,16})$/m.exec(status)?.[1] ?? '0'}`);
  return new Set(allCapabilities.filter((_, number) => ((bits >> BigInt(number)) & 1n) === 1n));
}

/** The hard limit of open files in /proc/PID/limits; 1024, every kernel's default, when it is not told. */
export function parseMaxOpenFiles(limits: string): number {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1] ?? '1024';
  return hard === 'unlimited' ? Number.MAX_SAFE_INTEGER : Number(hard);
}
