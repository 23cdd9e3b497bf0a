/** Parts of cgroup files that both versions have. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { HugetlbUse } from '../gen/agent/v1/agent.ts';

/** Execs lie one level below a container, containers one below a pod. */
const maxDepth = 3;

/** `key value` lines. */
export function flatKeys(text: string): Map<string, bigint> {
  const keys = new Map<string, bigint>();
  for (const [, key = '', value = '0'] of text.matchAll(/^(\S+) ([0-9]+)$/gm)) keys.set(key, BigInt(value));
  return keys;
}

/** A file of one number; `max`, nothing and anything else are 0. */
export function numberOf(text: string | undefined): bigint {
  const [number] = /^[0-9]+/.exec(text ?? '') ?? [];
  return BigInt(number ?? 0);
}

/** Processes of the cgroup and of those below it. */
export async function processesOf(path: string, depth: number = maxDepth): Promise<number[]> {
  const text = await readFile(join(path, 'cgroup.procs'), 'latin1').catch(() => '');
  const own = [...text.matchAll(/^[0-9]+$/gm)].map(([pid]) => Number(pid));
  if (depth === 0) return own;
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  const below = entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => processesOf(join(path, entry.name), depth - 1));
  return [...own, ...(await Promise.all(below)).flat()];
}

/** Their number. */
export async function countProcesses(path: string): Promise<bigint> {
  return BigInt((await processesOf(path)).length);
}

/** `hugetlb.2MB.current` and the like; `max` is the suffix of the file of the most that it ever was, in v1. */
export async function hugetlbFiles(
  path: string,
  suffixes: { readonly usage: string; readonly max: string | undefined },
): Promise<HugetlbUse[]> {
  const names = await readdir(path).catch(() => []);
  const sizes = names.flatMap((name) => {
    const [, size, suffix] = /^hugetlb\.([0-9]+[KMG]B)\.(.+)$/.exec(name) ?? [];
    return size !== undefined && suffix === suffixes.usage ? [size] : [];
  });
  const read = async (size: string, suffix: string): Promise<bigint> =>
    numberOf(await readFile(join(path, `hugetlb.${size}.${suffix}`), 'latin1').catch(() => undefined));
  return await Promise.all(
    sizes.toSorted().map(async (pageSize) => ({
      pageSize,
      usageBytes: await read(pageSize, suffixes.usage),
      maxUsageBytes: suffixes.max === undefined ? 0n : await read(pageSize, suffixes.max),
    })),
  );
}
