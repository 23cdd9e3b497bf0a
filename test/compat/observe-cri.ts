/** Runs the cases over CRI on one runtime and collects what their containers saw. */
import { readFile } from 'node:fs/promises';
import { sleep } from '../../src/base/deadline.ts';
import { ContainerState } from '../../src/gen/cri/v1/api.ts';
import type { Daemon } from '../helpers/daemon.ts';
import { logContent, podConfig, shell } from '../helpers/pods.ts';
import type { CompatCase } from './case.ts';
import { type Facts, parseFacts, probeScript } from './probe.ts';

/** Facts, or the error with which the runtime refused the case. */
export type Observation = { readonly facts: Facts } | { readonly refused: string };

const exitMs = 60_000;
const plainPod = { linux: { securityContext: { namespaceOptions: { pid: 1 } } } };

export interface Bench {
  readonly daemon: Daemon;
  /** The pulled images' names, by the `image` of a case. */
  readonly images: Readonly<Record<string, string>>;
  /** Told of the progress. */
  readonly say: (line: string) => void;
}

export async function observeOverCri(
  { daemon, images, say }: Bench,
  runtime: 'vm' | 'native',
  cases: readonly CompatCase[],
): Promise<Map<CompatCase, Observation>> {
  const result = new Map<CompatCase, Observation>();
  const pods = Map.groupBy(
    cases.filter(({ notFor }) => notFor?.[runtime] === undefined),
    ({ pod }) => JSON.stringify(pod ?? plainPod),
  );
  for (const [fields, members] of pods) {
    for (const [test, seen] of await observePod(daemon, runtime, { fields, members, images })) result.set(test, seen);
    say(`${runtime}: ${result.size} of ${cases.length} cases`);
  }
  return result;
}

interface PodOfCases {
  /** JSON of the PodSandboxConfig's fields. */
  readonly fields: string;
  readonly members: readonly CompatCase[];
  readonly images: Readonly<Record<string, string>>;
}

async function observePod(
  daemon: Daemon,
  runtime: 'vm' | 'native',
  { fields, members, images }: PodOfCases,
): Promise<[CompatCase, Observation][]> {
  const config = podConfig({ hostname: 'compat', ...JSON.parse(fields) }, `${daemon.folder}/logs/compat-${runtime}`);
  const refusal = (caught: unknown): Observation => ({
    refused: caught instanceof Error ? caught.message : String(caught),
  });
  let podSandboxId: string;
  try {
    ({ podSandboxId } = await daemon.cri.runPodSandbox({ config, runtimeHandler: runtime }));
  } catch (caught) {
    return members.map((test) => [test, refusal(caught)]);
  }
  const seen: [CompatCase, Observation][] = [];
  try {
    for (const test of members) {
      const image = images[test.image ?? 'plain'] as string;
      const wanted = shell(image, probeScript, {
        logPath: `${seen.length}-${podSandboxId.slice(0, 8)}.log`,
        ...test.container,
      });
      try {
        const made = await daemon.cri.createContainer({ podSandboxId, config: wanted, sandboxConfig: config });
        await daemon.cri.startContainer(made);
        const log = logContent(await readFile(await exited(daemon, made.containerId), 'utf8'));
        await daemon.cri.removeContainer(made);
        seen.push([test, { facts: parseFacts(log) }]);
      } catch (caught) {
        seen.push([test, refusal(caught)]);
      }
    }
  } finally {
    await daemon.cri.stopPodSandbox({ podSandboxId });
    await daemon.cri.removePodSandbox({ podSandboxId });
  }
  return seen;
}

/** Waits for the end. @returns the path of its log */
async function exited(daemon: Daemon, containerId: string): Promise<string> {
  const until = performance.now() + exitMs;
  for (;;) {
    const { status } = await daemon.cri.containerStatus({ containerId, verbose: false });
    if (status?.state === ContainerState.CONTAINER_EXITED) return status.logPath;
    if (performance.now() > until) throw new Error(`container ${containerId} did not end within ${exitMs} ms`);
    await sleep(20);
  }
}
