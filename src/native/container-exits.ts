/** How a native container's end becomes known: by conmon's exit file, and where there is none by what else can be seen. */
import { existsSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { sleep } from '../base/deadline.ts';
import { describeError } from '../base/errors.ts';
import type { NativeContext } from './context.ts';
import type { LiveContainer, LiveContainers } from './live-containers.ts';
import { type ContainerPlaces, containerPlaces, podPlaces, sharedPlaces } from './places.ts';
import { isConmonOf, readPidFile } from './processes.ts';

/** From a killed container to its exit file; the kernel may be long in writing a core or freeing memory. */
const exitMs = 30_000;
/** The exit code of a process that was killed: 128 and SIGKILL. */
const killedExitCode = 137;

/** Tells the engine of each exit once. */
export class ContainerExits {
  readonly #context: NativeContext;
  readonly #live: LiveContainers;

  constructor(context: NativeContext, live: LiveContainers) {
    this.#context = context;
    this.#live = live;
  }

  /** Kills it and waits for the word of its exit. */
  async kill(live: LiveContainer): Promise<void> {
    const { cgroups } = this.#context.options;
    if (this.#live.get(live.id) === undefined) return;
    await cgroups.kill(placeOf(live), live.id);
    const waiting = new AbortController();
    await Promise.race([live.ended, sleep(exitMs, waiting.signal).catch(() => undefined)]);
    waiting.abort();
    // conmon was killed, or is stuck: the container is dead, and nobody else will say so.
    if (this.#live.claimExit(live.id)) await this.#report(live, 'its conmon gave no word of the exit');
  }

  /** A container of an earlier daemon. */
  async takeUp(live: LiveContainer): Promise<void> {
    const places = this.#places(live);
    if ((await this.#context.exits.read(live.id)) !== undefined) return this.onExitFile(live.id);
    const conmon = await readPidFile(places.conmonPidFile);
    if (conmon !== undefined && (await isConmonOf(conmon, live.id))) return;
    // It may have written the file and ended between the two looks.
    if (existsSync(`${sharedPlaces(this.#context.options).exits}/${live.id}`)) return this.onExitFile(live.id);
    await this.#context.options.cgroups.kill(placeOf(live), live.id);
    if (this.#live.claimExit(live.id)) await this.#report(live, 'its conmon was gone when the daemon started');
  }

  /** Reads the exit file of a container that runs as far as is known, if one is there. */
  async onExitFile(containerId: string): Promise<void> {
    const live = this.#live.get(containerId);
    if (live === undefined) return;
    try {
      if ((await this.#context.exits.read(containerId)) === undefined) return;
      if (this.#live.claimExit(containerId)) await this.#report(live, '');
    } catch (caught) {
      this.#context.options.log.error(
        { container: containerId, error: describeError(caught) },
        'exit of a container could not be read',
      );
    }
  }

  /** Tells the engine. What the container left running ends with it, as it would with its PID namespace. */
  async #report(live: LiveContainer, message: string): Promise<void> {
    const { options, exits } = this.#context;
    const exit = await exits.read(live.id);
    const exitCode = exit?.exitCode ?? killedExitCode;
    const oomKilled = exitCode !== 0 && (await this.#wasOomKilled(live));
    await options.cgroups.kill(placeOf(live), live.id).catch((caught: unknown) => {
      options.log.error({ container: live.id, error: describeError(caught) }, 'processes outlive their container');
    });
    const finishedAtNs = exit?.finishedAtNs ?? options.clock.wallNs();
    options.events.onContainerExit(live.id, { exitCode, oomKilled, finishedAtNs, message });
    this.#live.finish(live.id);
  }

  async #wasOomKilled(live: LiveContainer): Promise<boolean> {
    if (await this.#context.options.cgroups.oomKilled(placeOf(live), live.id)) return true;
    return access(this.#places(live).oom).then(
      () => true,
      () => false,
    );
  }

  #places({ sandboxId, id }: LiveContainer): ContainerPlaces {
    return containerPlaces(podPlaces(this.#context.options, sandboxId), id);
  }
}

function placeOf({ cgroupParent, sandboxId }: LiveContainer): { readonly parent: string; readonly sandboxId: string } {
  return { parent: cgroupParent, sandboxId };
}
