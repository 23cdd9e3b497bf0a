/** What a direct run needs before its pod can start, made while no other run works on what is shared. */
import type { AgentEvents } from '../../agent/agent.ts';
import { isKind } from '../../base/errors.ts';
import { noFailpoints } from '../../base/failpoints.ts';
import type { Log } from '../../base/log.ts';
import type { QemuHypervisor } from '../../hypervisor/qemu/hypervisor.ts';
import { releaseHolders } from '../../hypervisor/template/store.ts';
import type { Image } from '../../images/image-store.ts';
import type { ForegroundStreams } from '../../native/foreground.ts';
import type { PodEngine } from '../../pod/engine/pod-engine.ts';
import { openState, type State } from '../../state/open-state.ts';
import type { Config } from '../config.ts';
import { makeFolders, makeTemplate, openHub, openHypervisor, openImages, templatesFolder } from '../parts.ts';
import { type Programs, placePrograms } from '../programs.ts';
import { newRun, programsFolder, runConfig, sharedConfig } from './places.ts';
import { openPod, type VmParts } from './pod-parts.ts';
import { knownRuns, withShared } from './shared-state.ts';
import { removeRun, sweepDeadRuns } from './sweep.ts';

/** Another run may pull a large image or build a template. */
const waitMs = 600_000;
/** At the end others are only waited for while they end too. */
const endWaitMs = 5_000;
/** Streams are served to ourselves alone. */
const streaming = { address: '127.0.0.1', port: 0 };

export interface Preparation {
  readonly config: Config;
  readonly image: string;
  /** Ask the registry also when the image is there. */
  readonly pull: boolean;
  /** Whether CNI plugins give the pod its network. */
  readonly plugins: boolean;
  /** The streams of a native pod; undefined: the pod gets a VM. */
  readonly streams: ForegroundStreams | undefined;
  readonly log: Log;
  /** Tells a person what takes long. */
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}

export interface PreparedRun extends AsyncDisposable {
  readonly id: string;
  readonly engine: PodEngine;
}

/**
 * Sweeps what killed runs left, fetches the image, makes the template ready, and puts the engine together.
 * Disposing it takes the run's folders away, and what runs share in memory with the last of them.
 */
export async function prepareRun(preparation: Preparation): Promise<PreparedRun> {
  const { config, log, signal } = preparation;
  const lock = { ours: true };
  try {
    return await withShared({ config, log, waitMs, signal }, async (shared) => {
      await sweepDeadRuns(config, log);
      return await prepared(preparation, shared, lock);
    });
  } finally {
    lock.ours = false;
  }
}

/** @param lock whether what is shared is still ours when the run ends */
async function prepared(
  preparation: Preparation,
  shared: State,
  lock: { readonly ours: boolean },
): Promise<PreparedRun> {
  const { config, log, signal, plugins, streams } = preparation;
  await using stack = new AsyncDisposableStack();
  const id = await newRun(config);
  const own = runConfig(config, id);
  let hypervisor: QemuHypervisor | undefined;
  stack.defer(() => endRun(config, own, { log, hypervisor, lock }));
  await makeFolders(own);
  const state = stack.adopt(openState(own.rootDirectory, log), (open) => open.close());
  const programs = await placePrograms(config.binDirectory, programsFolder(config), process.execPath);
  const image = await fetchImage(preparation, shared, programs);
  let vm: VmParts | undefined;
  if (streams === undefined) {
    const ears = Promise.withResolvers<AgentEvents>();
    const hub = stack.adopt(await openHub(own, { programs, log, events: ears.promise, streaming }), (open) =>
      open.shutdown(),
    );
    hypervisor = await openHypervisor(sharedConfig(config), log, hub);
    preparation.say('preparing the virtual machine');
    await makeTemplate(hypervisor, config, log, signal);
    vm = { hub, hypervisor, ears };
  }
  const { engine } = stack.use(await openPod({ config, own, state, log, image, vm, plugins, streams }));
  const owned = stack.move();
  return { id, engine, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function fetchImage(preparation: Preparation, shared: State, programs: Programs): Promise<Image> {
  const { config, image: reference, pull, log, say, signal } = preparation;
  const store = await openImages(sharedConfig(config), programs, shared, { log, failpoints: noFailpoints });
  try {
    const found = pull ? undefined : store.get(reference);
    if (found !== undefined) return found;
    say(`pulling ${reference}`);
    return await store.pull(reference, undefined, signal);
  } finally {
    await store.close();
  }
}

interface End {
  readonly log: Log;
  readonly hypervisor: QemuHypervisor | undefined;
  readonly lock: { readonly ours: boolean };
}

/**
 * Removes the run's folders, and lets go of the template's memory with the last run. When another run holds
 * what is shared for long, it lives, has swept already, and will be the last itself.
 */
async function endRun(config: Config, own: Config, { log, hypervisor, lock }: End): Promise<void> {
  const end = async (): Promise<void> => {
    await removeRun(own);
    const isLast = (await knownRuns(config)).every(({ alive }) => !alive);
    await hypervisor?.close('keep');
    // Also what a killed run held, when this one had no virtual machine.
    if (isLast) await releaseHolders(templatesFolder(sharedConfig(config)));
  };
  if (lock.ours) return await end();
  try {
    await withShared({ config, log, waitMs: endWaitMs }, end);
  } catch (caught) {
    if (!isKind(caught, 'deadline-exceeded')) throw caught;
    await removeRun(own);
    await hypervisor?.close('keep');
  }
}
