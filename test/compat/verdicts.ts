/** Runs the table: the reference first, then the runtimes, and says what differs. */
import { pushImage, startRegistry } from '../fixtures/registry.ts';
import { type DaemonOptions, startDaemon } from '../helpers/daemon.ts';
import type { CompatCase } from './case.ts';
import { differences } from './compare.ts';
import { compatImages, compatLayer } from './images.ts';
import { observeOverCri } from './observe-cri.ts';
import type { Facts } from './probe.ts';
import { openReference } from './reference.ts';
import type { RuntimeName, Verdict, Verdicts } from './render.ts';

/** @param say told of the progress */
export async function judge(
  cases: readonly CompatCase[],
  runtimes: readonly RuntimeName[],
  say: (line: string) => void,
  options: DaemonOptions = {},
): Promise<Verdicts> {
  const layer = compatLayer();
  const references = await observeReferences(cases, layer);
  say(`runC directly: ${references.size} cases`);
  await using stack = new AsyncDisposableStack();
  const registry = stack.adopt(await startRegistry(), (each) => each.stop());
  const daemon = stack.adopt(
    await startDaemon({ ...options, mirror: { to: registry.host, of: ['docker.io'] } }),
    (each) => each.stop(),
  );
  const images: Record<string, string> = {};
  for (const [name, built] of Object.entries(compatImages(layer))) {
    const image = `docker.io/library/compat-${name}:latest`;
    await pushImage(registry, `library/compat-${name}:latest`, built);
    await daemon.cri.pullImage({
      image: { image, annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
      auth: undefined,
      sandboxConfig: undefined,
    });
    images[name] = image;
  }
  const verdicts = new Map<CompatCase, Partial<Record<RuntimeName, Verdict>>>(cases.map((test) => [test, {}]));
  for (const runtime of runtimes) {
    const seen = await observeOverCri({ daemon, images, say }, runtime, cases);
    for (const [test, byRuntime] of verdicts) byRuntime[runtime] = verdictOf(test, runtime, references, seen.get(test));
  }
  return verdicts;
}

async function observeReferences(cases: readonly CompatCase[], layer: Buffer): Promise<Map<CompatCase, Facts>> {
  const reference = await openReference(layer);
  try {
    const seen = new Map<CompatCase, Facts>();
    for (const test of cases) seen.set(test, await reference.observe(test));
    return seen;
  } finally {
    await reference.close();
  }
}

function verdictOf(
  test: CompatCase,
  runtime: RuntimeName,
  references: ReadonlyMap<CompatCase, Facts>,
  seen: { readonly facts: Facts } | { readonly refused: string } | undefined,
): Verdict {
  if (seen === undefined) return { kind: 'left-out', reason: test.notFor?.[runtime] ?? 'not run' };
  if ('refused' in seen) return { kind: 'refused', message: seen.refused };
  return { kind: 'seen', differences: differences(references.get(test) as Facts, seen.facts) };
}
