/** The product under test, as its daemon runs it. */
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { run } from '../../../src/base/exec.ts';
import { freePort } from '../../fixtures/registry.ts';
import { startDaemon } from '../../helpers/daemon.ts';
import { descendantsOf, ownedBy, type Process, readProcesses } from '../processes.ts';
import type { Subject, SubjectProcesses } from './subject.ts';

export interface HuskOptions {
  /** `HOST:PORT` of the registry that stands in for docker.io. */
  readonly registry: string;
  /** Clone VMs from a template; false: boot each one. */
  readonly template: boolean;
  /** Where a built template is kept for the next run, so that a quick run is quick. */
  readonly templateCache: string;
}

export interface HuskSubject extends Subject {
  /** Address of the metrics endpoint, `http://127.0.0.1:PORT/metrics`. */
  readonly metricsUrl: string;
}

/** Names of processes that pods run in: QEMU, and what native pods' monitors have started. */
const vmProcess = /^qemu-system/;
const monitor = /^conmon/;

/** Starts it and waits until it answers, its template built. */
export async function startHusk({ registry, template, templateCache }: HuskOptions): Promise<HuskSubject> {
  const folder = await mkdtemp(join(tmpdir(), 'husk-bench-'));
  const templates = join(folder, 'lib/vm/templates');
  if (template) await copyIfThere(templateCache, templates);
  const metrics = `127.0.0.1:${await freePort()}`;
  const flags = [`--template=${template}`, `--metrics-address=${metrics}`];
  const daemon = await startDaemon({
    folder,
    flags,
    ownGroup: true,
    mirror: { to: registry, of: ['docker.io'] },
  }).catch(async (caught: unknown) => {
    await rm(folder, { recursive: true, force: true });
    throw caught;
  });
  if (template) await keep(templates, templateCache);
  const owns = ownedBy({ mark: folder, session: daemon.pid });
  return {
    name: template ? 'husk' : 'cold boot',
    cri: daemon.cri,
    bridge: daemon.bridge,
    socket: daemon.socket,
    folder,
    metricsUrl: `http://${metrics}/metrics`,
    owns,
    processes: () => processesOf(owns),
    streamingServer: () =>
      (JSON.parse(readFileSync(join(folder, 'run/gateway/pid.json'), 'utf8')) as { pid: number }).pid,
    async stop() {
      try {
        await daemon.stop();
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}

function processesOf(owns: (process: Process) => boolean): SubjectProcesses {
  const all = readProcesses();
  const mine = [...descendantsOf(all, owns)];
  const isWorkload = (pid: number): boolean => {
    const found = all.get(pid);
    if (found === undefined) return false;
    return vmProcess.test(found.name) || monitor.test(all.get(found.parent)?.name ?? '');
  };
  return { management: mine.filter((pid) => !isWorkload(pid)), workload: mine.filter(isWorkload) };
}

async function copyIfThere(from: string, to: string): Promise<void> {
  const there = await stat(from).catch(() => undefined);
  if (there !== undefined) await copyTemplates(from, to);
}

/** Beside the old one, then in its place: a run that is interrupted leaves no half of a template. */
async function keep(from: string, to: string): Promise<void> {
  await rm(`${to}.new`, { recursive: true, force: true });
  await copyTemplates(from, `${to}.new`);
  await rm(to, { recursive: true, force: true });
  await rename(`${to}.new`, to);
}

/** Holes stay holes; which process holds the memory is true of one daemon only. */
async function copyTemplates(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await run('cp', ['-r', '--sparse=always', from, to], { timeoutMs: 60_000 });
  await run('find', [to, '-name', 'holder.json', '-delete'], { timeoutMs: 10_000 });
}
