/**
 * What one daemon holds on the machine: what it must give back when its pods are removed. Only what is
 * its own is listed, so that daemons of other tests may run beside it.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from '../../src/base/exec.ts';
import { instanceName } from '../../src/cli/instance.ts';

/** Whose things are counted. */
export interface Holder {
  readonly folder: string;
  readonly bridge: string;
  /** Root directory that names are made of; `lib` in the folder by default. */
  readonly root?: string;
  /** Folders below `folder` whose entries count beside those of a daemon. */
  readonly folders?: readonly string[];
}

/** One line for each thing, sorted. */
export async function holdingsOf(daemon: Holder): Promise<string[]> {
  const root = daemon.root ?? join(daemon.folder, 'lib');
  const instance = instanceName(root);
  const marks = [daemon.folder, `/${instance}/`, daemon.bridge];
  const kinds = await Promise.all([
    processesOf(marks),
    names('/run/netns', (name) => name.startsWith(`${instance}-`)),
    cgroupsOf(instance),
    readFile('/proc/self/mountinfo', 'utf8').then((text) => linesWith(text, [daemon.folder, `/${instance}-`])),
    linksOf(daemon.bridge, instance),
    run('nft', ['list', 'ruleset'], { timeoutMs: 10_000 }).then((text) => linesWith(text, [daemon.bridge])),
    names(join(daemon.folder, 'ipam', daemon.bridge), (name) => !/lock$|last_reserved/.test(name)),
    leasesOf(daemon.folder),
    ...['run/pods', 'run/vm', 'lib/pods', 'lib/cni', 'lib/images/work', 'lib/images/layers'].map((name) =>
      names(join(daemon.folder, name)),
    ),
    ...(daemon.folders ?? []).map((name) => names(join(daemon.folder, name))),
  ]);
  return kinds.flat().sort();
}

/**
 * Waits until the daemon holds what it did: what was told to end may take a moment to be gone.
 * @throws Error with the differences
 */
export async function assertHoldings(daemon: Holder, wanted: readonly string[], withinMs = 5_000): Promise<void> {
  const end = performance.now() + withinMs;
  for (;;) {
    const found = await holdingsOf(daemon);
    const lines = [
      ...found.filter((line) => !wanted.includes(line)).map((line) => `+ ${line}`),
      ...wanted.filter((line) => !found.includes(line)).map((line) => `- ${line}`),
    ];
    if (lines.length === 0 && found.length === wanted.length) return;
    if (performance.now() > end) {
      throw new Error(`left behind or missing, ${found.length} against ${wanted.length}:\n${lines.join('\n')}`);
    }
    await delay(50);
  }
}

/** Processes that have one of the marks in their arguments, cgroups, folders or open files; by name, not by pid. */
async function processesOf(marks: readonly string[]): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid);
  const lines = await Promise.all(
    pids.map(async (pid) => {
      const folder = `/proc/${pid}`;
      const command = (await text(`${folder}/cmdline`)).replaceAll('\0', ' ');
      const fds = await names(`${folder}/fd`);
      const links = await Promise.all([`${folder}/cwd`, `${folder}/root`, ...fds].map(target));
      const traces = [command, await text(`${folder}/cgroup`), ...links].join('\n');
      return marks.some((mark) => traces.includes(mark)) ? [`process ${command.slice(0, 80)}`] : [];
    }),
  );
  return lines.flat();
}

async function cgroupsOf(instance: string): Promise<string[]> {
  const mount = '/sys/fs/cgroup';
  const folders = [join(mount, instance), ...(await names(mount)).map((controller) => join(controller, instance))];
  return (await Promise.all(folders.map((folder) => names(folder, (name) => name.startsWith('husk-'))))).flat();
}

async function linksOf(bridge: string, instance: string): Promise<string[]> {
  const printed = await run('ip', ['-json', 'link', 'show'], { timeoutMs: 10_000 });
  const links = JSON.parse(printed) as { ifname: string; master?: string; link_netns?: string }[];
  return links
    .filter(({ master, link_netns: peer = '' }) => master === bridge || peer.startsWith(`${instance}-`))
    .map(({ ifname }) => `link ${ifname}`);
}

async function leasesOf(folder: string): Promise<string[]> {
  const leases = await names('/run/husk-uids');
  const owned = await Promise.all(
    leases.map(async (path) => ((await target(path)).startsWith(`${folder}/`) ? [path] : [])),
  );
  return owned.flat();
}

async function names(folder: string, wanted: (name: string) => boolean = () => true): Promise<string[]> {
  const found = await readdir(folder).catch(() => []);
  return found.filter(wanted).map((name) => `${folder}/${name}`);
}

function linesWith(content: string, marks: readonly string[]): string[] {
  return content.split('\n').filter((line) => marks.some((mark) => line.includes(mark)));
}

/** What is gone while it is looked at does not count. */
async function text(path: string): Promise<string> {
  return readFile(path, 'latin1').catch(() => '');
}

async function target(path: string): Promise<string> {
  return readlink(path).catch(() => '');
}
