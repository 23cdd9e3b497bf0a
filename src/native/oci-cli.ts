/** The OCI runtime's command line on the host: runC, or one that takes the same arguments. */
import { HuskError } from '../base/errors.ts';
import { run } from '../base/exec.ts';
import type { OciResources } from '../oci/runtime-spec.ts';

/** A create or start takes tens of milliseconds; this is for a machine that is stuck. */
const callMs = 60_000;

export class OciCli {
  readonly path: string;
  readonly #root: string;
  readonly #systemdCgroup: boolean;

  /** @param root folder for the runtime's own state */
  constructor(path: string, root: string, cgroupDriver: 'cgroupfs' | 'systemd') {
    this.path = path;
    this.#root = root;
    this.#systemdCgroup = cgroupDriver === 'systemd';
  }

  /** Arguments before the command. */
  get globalArgs(): readonly string[] {
    return ['--root', this.#root, ...(this.#systemdCgroup ? ['--systemd-cgroup'] : [])];
  }

  async start(id: string, signal: AbortSignal): Promise<void> {
    await this.#run(['start', id], signal);
  }

  /** Runs a container that needs no standard streams, and returns when it runs. */
  async runDetached(id: string, bundle: string, pidFile: string): Promise<void> {
    await this.#run(['run', '--detach', '--bundle', bundle, '--pid-file', pidFile, id]);
  }

  /** Changes limits: all of them or, when one is refused, none. What is not in it stays. */
  async update(id: string, resources: OciResources, signal: AbortSignal): Promise<void> {
    await this.#run(['update', '--resources', '-', id], signal, JSON.stringify(resources));
  }

  /** Kills what runs and forgets the container. Absent is fine. */
  async delete(id: string): Promise<void> {
    await this.#run(['delete', '--force', id]);
  }

  /** `created`, `running`, `stopped`, `paused`; undefined when the runtime does not know it. */
  async status(id: string): Promise<string | undefined> {
    try {
      const state: unknown = JSON.parse(await this.#run(['state', id]));
      return typeof state === 'object' && state !== null && 'status' in state ? String(state.status) : undefined;
    } catch (caught) {
      if (HuskError.from(caught).message.includes('does not exist')) return undefined;
      throw caught;
    }
  }

  async #run(args: readonly string[], signal?: AbortSignal, input?: string): Promise<string> {
    const options = { timeoutMs: callMs, signal, stage: 'oci-runtime', ...(input === undefined ? {} : { input }) };
    return run(this.path, [...this.globalArgs, ...args], options);
  }
}
