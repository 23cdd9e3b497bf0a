/** One whole run: conditions, runtimes, sections, results; everything is taken away whatever happens. */

import { sleep } from '../../src/base/deadline.ts';
import { describeError } from '../../src/base/errors.ts';
import { StatusRequest } from '../../src/gen/cri/v1/api.ts';
import { startRegistry } from '../fixtures/registry.ts';
import type { Bench } from './bench.ts';
import { type CalmWish, waitForCalm } from './calm.ts';
import { type Conditions, machine, versions } from './conditions.ts';
import { pauseImage } from './images.ts';
import { complaints, LoadWatch, notMeasured } from './load.ts';
import type { Plan, SectionName } from './plan.ts';
import { Recorder, type Results, resultsVersion } from './results.ts';
import { measureBurst } from './sections/burst.ts';
import { measureClone } from './sections/clone.ts';
import { measureCritest } from './sections/critest.ts';
import { measureNative } from './sections/native.ts';
import { measurePods } from './sections/pods.ts';
import { measurePull } from './sections/pull.ts';
import { measureScale } from './sections/scale.ts';
import { measureStreams } from './sections/streams.ts';
import { measureVolumes } from './sections/volumes.ts';
import { startContainerd } from './subjects/containerd.ts';
import { type HuskSubject, startHusk } from './subjects/husk.ts';
import type { Subject } from './subjects/subject.ts';

export interface RunOptions {
  readonly plan: Plan;
  /** Root of the sources. */
  readonly repository: string;
  /** Folder for what is kept between runs. */
  readonly cache: string;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
  /** Keeps what there is after each section: an interrupted run has not been in vain. */
  readonly save: (results: Results) => Promise<void>;
}

const sections: Readonly<Record<SectionName, (bench: Bench) => Promise<void>>> = {
  pods: measurePods,
  native: measureNative,
  clone: measureClone,
  burst: measureBurst,
  scale: measureScale,
  pull: measurePull,
  streams: measureStreams,
  volumes: measureVolumes,
  critest: measureCritest,
};

/** How busy the machine may be when we begin, as the number of runnable processes in the last minute. */
const calmLoadPerCore = 0.5;
/** What ran just before, a build say, is forgotten in this time. */
const longestCalmMs = 120_000;

/**
 * Runs the plan. A section that fails is a reason to call the result invalid, and the others go
 * on; a signal ends the run, with what was measured until then, after everything that was started has been taken away.
 */
export async function runBench(options: RunOptions): Promise<Results> {
  const { plan, repository, cache, signal, say } = options;
  const startedAt = new Date().toISOString();
  const invalid: string[] = [];
  const recorder = new Recorder();
  const owners: Subject[] = [];
  const watch = new LoadWatch((found) => found.pid === process.pid || owners.some((subject) => subject.owns(found)));
  const facts = machine();
  await settle({ plan, watch, invalid, mostLoad: calmLoadPerCore * facts.cores, signal, say });
  await using stack = new AsyncDisposableStack();
  const registry = stack.use(await startRegistry());
  const pause = await pauseImage(registry);
  say('starting huskd (builds its VM template when it has none)');
  const husk = stack.adopt(
    await startHusk({ registry: registry.host, template: true, templateCache: `${cache}/templates` }),
    (subject) => subject.stop(),
  );
  owners.push(husk);
  const peer = await startContainerd({ registry: registry.host, pauseImage: pause, subnet: 252 }).catch(
    (caught: unknown) => {
      invalid.push(`the peer is missing: ${describeError(caught)}`);
      return undefined;
    },
  );
  if (peer !== undefined) {
    stack.adopt(peer, (subject) => subject.stop());
    owners.push(peer);
  }
  const bench: Bench = { plan, repository, registry, husk, peer, recorder, watch, cache, signal, say };
  const known = { machine: facts, ...(await acceleratorOf(husk)), versions: await versions(repository), pool: 'none' };
  const soFar = (): Results => resultsOf({ plan, startedAt, invalid, recorder, known, watch });
  watch.look('preparing', 0);
  for (const name of plan.sections) {
    await runSection(name, bench, invalid);
    if (signal.aborted) break;
    await options.save(soFar());
  }
  return soFar();
}

/** Lets a load die down that was made before, then looks whether there is another. */
async function settle({
  plan,
  watch,
  invalid,
  ...wish
}: Omit<CalmWish, 'longestMs'> & Pick<Bench, 'plan' | 'watch'> & { readonly invalid: string[] }): Promise<void> {
  const load = await waitForCalm({ ...wish, longestMs: plan.settle ? longestCalmMs : 0 });
  watch.look(notMeasured);
  await sleep(plan.calmMs, wish.signal);
  watch.look('before', 0);
  if (load > wish.mostLoad) invalid.push(`the machine was busy before the run: load average ${load.toFixed(2)}`);
}

function resultsOf(run: {
  readonly plan: Plan;
  readonly startedAt: string;
  readonly invalid: readonly string[];
  readonly recorder: Recorder;
  readonly known: Omit<Conditions, 'load'>;
  readonly watch: LoadWatch;
}): Results {
  const { samples, scale, timelines, traces, missing, seconds, explanations } = run.recorder;
  // Building the template is ours, and what strangers did meanwhile touched no figure.
  const during = run.watch.looks.filter(({ section }) => section !== 'preparing' && section !== notMeasured);
  return {
    ...{ version: resultsVersion, plan: run.plan.name, startedAt: run.startedAt },
    conditions: { ...run.known, load: run.watch.looks },
    invalid: [...run.invalid, ...complaints(during)],
    ...{ samples, scale, timelines, traces, missing, seconds, explanations },
  };
}

async function runSection(name: SectionName, bench: Bench, invalid: string[]): Promise<void> {
  const started = performance.now();
  try {
    await sections[name](bench);
  } catch (caught) {
    const why = bench.signal.aborted ? 'was interrupted' : `failed: ${describeError(caught)}`;
    invalid.push(`section "${name}" ${why}`);
  }
  bench.watch.look(name, 0);
  const seconds = Math.round((performance.now() - started) / 100) / 10;
  bench.recorder.seconds[name] = seconds;
  bench.say(`${name}: ${seconds.toFixed(1)} s`);
}

async function acceleratorOf(husk: HuskSubject): Promise<Pick<Conditions, 'accelerator' | 'acceleratorReason'>> {
  const { info } = await husk.cri.status(StatusRequest.fromPartial({ verbose: true }));
  const told = JSON.parse(info['hypervisor'] ?? '{}') as { accelerator?: string; acceleratorReason?: string };
  return { accelerator: told.accelerator ?? 'unknown', acceleratorReason: told.acceleratorReason ?? '' };
}
