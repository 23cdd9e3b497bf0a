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

/**
 * The cgroups that a container's execs run in, one each at a time. They are used again and go with their container:
 * to make one and to take it away costs much under emulation (docs/adr/0071).
 */
export class ExecCgroups {
  readonly #parent: string;
  readonly #spare: string[] = [];
  #made = 0;

  /** @param parent directory of the container's cgroup */
  constructor(parent: string) {
    this.#parent = parent;
  }

  /** One that no other exec has. The first is there already where the container was prepared. */
  take(): string {
    const path = this.#spare.pop() ?? `${this.#parent}/exec-${++this.#made}`;
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** For the next exec; not one where a process outlived its exec, as a daemon does. */
  give(path: string): void {
    if (isEmpty(path)) this.#spare.push(path);
  }
}

function isEmpty(path: string): boolean {
  try {
    return /^populated 0$/m.test(readFileSync(`${path}/cgroup.events`, 'latin1'));
  } catch {
    return false;
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
