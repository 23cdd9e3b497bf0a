/**
 * What stands on this machine that a daemon could have left behind: taken before and after a
 * test, the two must be equal.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from '../../src/base/exec.ts';

export interface CensusOptions {
  /** Command lines that count; the default knows the kinds of processes that husk starts. */
  readonly processes?: RegExp;
  /** Folders whose every file counts, e.g. root and state folder. */
  readonly folders?: readonly string[];
  /** Folders of address leases. */
  readonly leaseFolders?: readonly string[];
  /** Processes whose open descriptors count, e.g. the daemon. */
  readonly pids?: readonly number[];
  /** The kinds that are compared, when other tests may run beside; all by default. */
  readonly kinds?: readonly string[];
}

/** By kind (`mounts`, `links`...): one line for each thing. */
export type Census = ReadonlyMap<string, readonly string[]>;

/** QEMU, our daemon and its helpers, the registry of the tests. */
const ourProcesses = /qemu-system|qemu-img|(^|[/ ])husk|docker-registry|gateway|tar2sqfs|diod|conmon/;

/** Looks at the machine. */
export async function takeCensus(options: CensusOptions = {}): Promise<Census> {
  const ip = await run('ip', ['-json', 'link', 'show'], { timeoutMs: 10_000 });
  const links = JSON.parse(ip) as { ifname: string; link?: string; master?: string }[];
  const census: [string, string[]][] = [
    ['processes', processes(options.processes ?? ourProcesses)],
    ['network namespaces', entries('/run/netns')],
    ['mounts', mounts()],
    ['links', links.map(({ ifname, master }) => `${ifname}${master === undefined ? '' : ` of ${master}`}`).sort()],
    ['queueing disciplines', await disciplines()],
    ['packet filter', await packetFilter()],
    ['cgroups', cgroups('/sys/fs/cgroup', 6)],
    ['loop devices', loops()],
    ['leases', (options.leaseFolders ?? ['/var/lib/cni/networks']).flatMap(leases)],
    ['files', (options.folders ?? []).flatMap(files)],
    ['descriptors', (options.pids ?? []).flatMap(descriptors)],
  ];
  return new Map(census.filter(([kind]) => options.kinds?.includes(kind) ?? true));
}

/** The differences, one line each: `+` came, `-` went. Empty: none. */
export function censusDiff(before: Census, after: Census): string[] {
  const lines: string[] = [];
  for (const kind of new Set([...before.keys(), ...after.keys()])) {
    const [old, now] = [before.get(kind) ?? [], after.get(kind) ?? []];
    lines.push(
      ...surplus(now, old).map((line) => `+ ${kind}: ${line}`),
      ...surplus(old, now).map((line) => `- ${kind}: ${line}`),
    );
  }
  return lines;
}

/**
 * Waits until the machine is as it was: what was told to end may take a moment to be gone.
 *
 * @throws Error with the differences
 */
export async function assertCensus(before: Census, options: CensusOptions = {}, withinMs = 5_000): Promise<void> {
  const end = performance.now() + withinMs;
  for (;;) {
    const lines = censusDiff(before, await takeCensus(options));
    if (lines.length === 0) return;
    if (performance.now() > end) throw new Error(`left behind or missing:\n${lines.join('\n')}`);
    await delay(50);
  }
}

/** What is in `list` more often than in `other`. */
function surplus(list: readonly string[], other: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const line of other) left.set(line, (left.get(line) ?? 0) + 1);
  return list.filter((line) => {
    const count = left.get(line) ?? 0;
    left.set(line, count - 1);
    return count <= 0;
  });
}

function processes(wanted: RegExp): string[] {
  const found: string[] = [];
  for (const pid of entries('/proc').filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid || Number(pid) === process.ppid) continue;
    const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
    // A process that has ended and was not reaped has no command line, but it has a name.
    const name = command === '' ? zombieName(pid) : command;
    if (wanted.test(name)) found.push(`${pid} ${name.slice(0, 160)}`);
  }
  return found;
}

function zombieName(pid: string): string {
  const stat = read(`/proc/${pid}/stat`);
  return /\) Z /.test(stat) ? `${/\((.*)\)/.exec(stat)?.[1] ?? ''} (zombie)` : '';
}

function mounts(): string[] {
  const lines = read('/proc/self/mountinfo').trim().split('\n');
  return lines.map((line) => {
    const [left = '', right = ''] = line.split(' - ');
    return `${left.split(' ')[4]} (${right.split(' ').slice(0, 2).join(' ')})`;
  });
}

async function disciplines(): Promise<string[]> {
  const lines = (await run('tc', ['qdisc', 'show'], { timeoutMs: 10_000 })).trim().split('\n');
  return lines.filter((line) => /^qdisc (ingress|clsact|tbf|htb)/.test(line));
}

/** Every rule with its table and chain, counts left out. */
async function packetFilter(): Promise<string[]> {
  const lines: string[] = [];
  let [table, chain] = ['', ''];
  for (const line of (await run('nft', ['list', 'ruleset'], { timeoutMs: 10_000 })).split('\n')) {
    const text = line.trim().replace(/packets \d+ bytes \d+/, '');
    if (text.startsWith('table ')) [table, chain] = [text.replace(' {', ''), ''];
    else if (text.startsWith('chain ')) chain = text.replace(' {', '');
    if (text !== '' && text !== '}' && !text.startsWith('#')) lines.push(`${table}, ${chain}: ${text}`);
  }
  return lines;
}

/** The cgroups below a folder that have husk in their names. */
function cgroups(folder: string, depth: number): string[] {
  if (depth === 0) return [];
  const below = readFolder(folder).filter((entry) => entry.isDirectory());
  return below.flatMap(({ name }) => {
    const path = join(folder, name);
    return [...(name.includes('husk') ? [path] : []), ...cgroups(path, depth - 1)];
  });
}

function loops(): string[] {
  const names = entries('/sys/block').filter((name) => name.startsWith('loop'));
  return names
    .map((name) => [name, read(`/sys/block/${name}/loop/backing_file`).trim()])
    .flatMap(([name, file]) => (file === '' ? [] : [`${name} ${file}`]));
}

/** host-local keeps a file for each address, by its name. */
function leases(folder: string): string[] {
  return files(folder).filter((path) => /\/[0-9a-f]+[.:][0-9a-f.:]+$/.test(path));
}

function files(folder: string): string[] {
  return readFolder(folder).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? [`${path}/`, ...files(path)] : [path];
  });
}

/** Sockets and pipes have numbers that differ from run to run: their kind counts. */
function descriptors(pid: number): string[] {
  return entries(`/proc/${pid}/fd`).map((fd) => {
    const target = link(`/proc/${pid}/fd/${fd}`);
    return `of ${pid}: ${target.replace(/:\[\d+\]$/, '').replace(/^\/proc\/\d+\//, '/proc/PID/')}`;
  });
}

function readFolder(path: string): { name: string; isDirectory: () => boolean }[] {
  try {
    return readdirSync(path, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch {
    return [];
  }
}

function entries(path: string): string[] {
  return existsSync(path) ? readFolder(path).map(({ name }) => name) : [];
}

/** What is gone while it is looked at does not count. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return 'closed meanwhile';
  }
}
