/** A container's cgroup, version 2. */
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';

/**
 * Kills every process in the cgroup and below it at once, so that none can fork away (cgroup v2,
 * "cgroup.kill"). A cgroup that is gone has no processes.
 */
export function killCgroup(path: string): void {
  try {
    writeFileSync(`${path}/cgroup.kill`, '1');
  } catch {
    // It is gone, and its processes with it.
  }
}

/** Whether the kernel killed a process of the cgroup for want of memory. */
export function wasOomKilled(path: string): boolean {
  try {
    return oomKills(readFileSync(`${path}/memory.events`, 'latin1')) > 0;
  } catch {
    return false;
  }
}

/** The count `oom_kill` of memory.events. */
export function oomKills(events: string): number {
  return Number(/^oom_kill ([0-9]+)$/m.exec(events)?.[1] ?? 0);
}

/** Makes a cgroup below another. */
export function makeCgroup(path: string): void {
  mkdirSync(path);
}

/** Removes an empty cgroup; one that still has processes stays until its container goes. */
export function dropCgroup(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Still in use: a process outlived its exec, as a daemon does.
  }
}
