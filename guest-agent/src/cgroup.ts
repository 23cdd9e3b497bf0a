/** A container's cgroup, version 2. */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { sleep } from '../../src/base/deadline.ts';
import { isErrno } from '../../src/base/errors.ts';

/** Killed processes leave their cgroup within milliseconds, unless one is stuck in the kernel. */
const emptyTries = 100;
const emptyWaitMs = 20;

/**
 * Kills every process in the cgroup and below it at once, so that none can fork away (cgroup v2,
 * "cgroup.kill"). A cgroup that is gone has no processes. Returns whether it was there.
 */
export function killCgroup(path: string): boolean {
  try {
    writeFileSync(`${path}/cgroup.kill`, '1');
    return true;
  } catch {
    // It is gone, and its processes with it.
    return false;
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

/** Kills what is in the cgroup, and removes it and all below. False when there is none, or something does not end. */
export async function removeCgroup(path: string): Promise<boolean> {
  if (!killCgroup(path)) return false;
  for (let tries = 0; tries < emptyTries; tries += 1) {
    if (dropTree(path)) return true;
    await sleep(emptyWaitMs);
  }
  return false;
}

/** Nearly always there is nothing below: that is looked for only when the cgroup cannot be removed. */
function dropTree(path: string): boolean {
  if (isDropped(path)) return true;
  const below = readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const dropped = below.map(({ name }) => dropTree(`${path}/${name}`));
  return dropped.length > 0 && dropped.every(Boolean) && isDropped(path);
}

function isDropped(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (caught) {
    return isErrno(caught, 'ENOENT');
  }
}
