/**
 * Parts of cgroup files that both versions have.
 *
 * They are read synchronously: a file of the kernel's memory comes back in microseconds, and the four
 * trips to a thread that Node makes for each otherwise cost ten times that.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HugetlbUse } from '../gen/agent/v1/agent.ts';

/** Execs lie one level below a container, containers one below a pod. */
const maxDepth = 3;

/** A file's text, undefined where there is none. */
export function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

/** The number of a key among `key value` lines, most of which nobody wants; 0 when it is not there. */
export function flatKey(text: string | undefined, key: string): bigint {
  if (text === undefined) return 0n;
  const start = text.startsWith(`${key} `) ? 0 : text.indexOf(`\n${key} `) + 1;
  if (start === 0 && !text.startsWith(`${key} `)) return 0n;
  return numberOf(text.slice(start + key.length + 1, start + key.length + 22));
}

/** A file of one number; `max`, nothing and anything else are 0. */
export function numberOf(text: string | undefined): bigint {
  const [number] = /^[0-9]+/.exec(text ?? '') ?? [];
  return BigInt(number ?? 0);
}

/** Processes of the cgroup and of those below it. */
export function processesOf(path: string, depth: number = maxDepth): number[] {
  const text = textOf(join(path, 'cgroup.procs')) ?? '';
  const own = [...text.matchAll(/^[0-9]+$/gm)].map(([pid]) => Number(pid));
  if (depth === 0) return own;
  return [...own, ...foldersIn(path).flatMap((name) => processesOf(join(path, name), depth - 1))];
}

/** Their number. */
export function countProcesses(path: string): bigint {
  return BigInt(processesOf(path).length);
}

/** `hugetlb.2MB.current` and the like; `max` is the suffix of the file of the most that it ever was, in v1. */
export function hugetlbFiles(
  path: string,
  suffixes: { readonly usage: string; readonly max: string | undefined },
): HugetlbUse[] {
  const sizes = namesIn(path).flatMap((name) => {
    const [, size, suffix] = /^hugetlb\.([0-9]+[KMG]B)\.(.+)$/.exec(name) ?? [];
    return size !== undefined && suffix === suffixes.usage ? [size] : [];
  });
  const read = (size: string, suffix: string): bigint => numberOf(textOf(join(path, `hugetlb.${size}.${suffix}`)));
  return sizes.toSorted().map((pageSize) => ({
    pageSize,
    usageBytes: read(pageSize, suffixes.usage),
    maxUsageBytes: suffixes.max === undefined ? 0n : read(pageSize, suffixes.max),
  }));
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function foldersIn(path: string): string[] {
  try {
    const entries = readdirSync(path, { withFileTypes: true });
    return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  } catch {
    return [];
  }
}
