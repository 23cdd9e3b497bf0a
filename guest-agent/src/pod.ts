/** Everything the agent holds: one pod. */
import { readFileSync } from 'node:fs';
import { HuskError, isErrno } from '../../src/base/errors.ts';
import type { Log } from '../../src/base/log.ts';
import type { UserNamespace } from '../../src/gen/agent/v1/agent.ts';
import type { ConfiguredPod } from '../../src/guest/identity.ts';
import type { Container } from './container.ts';
import { findDisk } from './disks.ts';
import { EventStream } from './event-stream.ts';
import type { Exits } from './exits.ts';
import type { FifoPool } from './fifos.ts';
import { KeyedLock } from './keyed-lock.ts';
import { LayerTable } from './layers.ts';
import { Leavings } from './leavings.ts';
import type { OciRuntime } from './oci-runtime.ts';
import { podPlaces } from './places.ts';
import type { PreparedContainers } from './prepared/pool.ts';
import type { Settings } from './settings.ts';
import { ShiftedLayers } from './shifted-layers.ts';
import { steppedRuntime, steppedSys } from './steps.ts';
import { Streams } from './streams.ts';
import type { Sys } from './sys-helper.ts';
import { runTool } from './tool.ts';
import { type PodIds, podIds } from './user-ids.ts';
import { Volumes } from './volumes/volumes.ts';
import { WrittenBytes } from './written-bytes.ts';

const pauseMs = 10_000;

export interface PodParts {
  readonly settings: Settings;
  readonly sys: Sys;
  readonly exits: Exits;
  readonly fifos: FifoPool;
  readonly runtime: OciRuntime;
  readonly log: Log;
}

export class Pod {
  readonly settings: Settings;
  readonly sys: Sys;
  readonly exits: Exits;
  readonly fifos: FifoPool;
  readonly runtime: OciRuntime;
  readonly containers: Map<string, Container> = new Map();
  readonly events: EventStream;
  readonly volumes: Volumes;
  readonly streams: Streams;
  /** One thing at a time: per container, and for the layers that containers share. */
  readonly locks = new KeyedLock();
  readonly leavings: Leavings;
  readonly written: WrittenBytes = new WrittenBytes();
  /** Of images, for containers of the pod's user namespace. */
  readonly shifted: ShiftedLayers;
  /** Absent with another OCI runtime than runC. */
  prepared: PreparedContainers | undefined;
  #configured: ConfiguredPod | undefined;
  #pause: Promise<number> | undefined;
  #ids: PodIds | undefined;
  #layers: LayerTable | undefined;
  #consoles = 0;

  /** @param configured known already: of a pod that is only rehearsed */
  constructor(parts: PodParts, configured?: ConfiguredPod) {
    this.#configured = configured;
    this.settings = parts.settings;
    this.sys = steppedSys(parts.sys);
    this.exits = parts.exits;
    this.fifos = parts.fifos;
    this.runtime = steppedRuntime(parts.runtime);
    this.leavings = new Leavings(parts.log);
    this.events = new EventStream(this.containers);
    this.volumes = new Volumes(this);
    this.streams = new Streams(parts.settings.streamsSocket);
    this.shifted = new ShiftedLayers(this);
    this.fifos.ownedBy(() => this.ids);
  }

  /** A path for a socket that a terminal is sent to, used by nothing else. */
  consoleSocket(): string {
    this.#consoles += 1;
    return `${this.settings.stateDir}/console-${this.#consoles}`;
  }

  /** What the batch that gave the pod its identity left word of; undefined before. The relay may have run it. */
  get configured(): ConfiguredPod | undefined {
    this.#configured ??= readConfigured(podPlaces(this.settings).configuredFile);
    return this.#configured;
  }

  /** Ids in the pod's user namespace; undefined where it has none of its own. */
  get ids(): PodIds | undefined {
    this.#ids ??= podIds(this.configured?.userNamespace);
    return this.#ids;
  }

  /**
   * The process that is PID 1 of the pod's shared PID namespace and holds its user namespace, started when it is
   * first asked for; undefined where there is neither.
   */
  async pausePid(): Promise<number | undefined> {
    const { sharedPid, userNamespace } = this.configured ?? {};
    if (sharedPid !== true && userNamespace === undefined) return undefined;
    this.#pause ??= startPause(this.settings.pausePath, pauseArgs(userNamespace));
    try {
      return await this.#pause;
    } catch (caught) {
      this.#pause = undefined;
      throw caught;
    }
  }

  /** Found by its name in /sys: in the template nothing of the disk itself must be read. */
  get layers(): LayerTable {
    this.#layers ??= new LayerTable(
      this.settings.disks?.layers ?? findDisk('layers'),
      podPlaces(this.settings).layersFolder,
    );
    return this.#layers;
  }

  /** @throws HuskError `not-found` */
  container(id: string): Container {
    const container = this.containers.get(id);
    if (container !== undefined) return container;
    throw new HuskError('not-found', `container "${id.slice(0, 64)}": the guest has none with this id`);
  }
}

function pauseArgs(namespace: UserNamespace | undefined): string[] {
  return namespace === undefined ? [] : [rangeText(namespace.uids), rangeText(namespace.gids)];
}

function rangeText(range: UserNamespace['uids']): string {
  return `${range?.hostId ?? 0}:${range?.length ?? 0}`;
}

/** Undefined when there is no such file. */
export function readConfigured(path: string): ConfiguredPod | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ConfiguredPod;
  } catch (caught) {
    if (isErrno(caught, 'ENOENT')) return undefined;
    throw HuskError.from(caught);
  }
}

async function startPause(path: string, args: readonly string[]): Promise<number> {
  const { exitCode, stdout, stderr } = await runTool(path, args, { timeoutMs: pauseMs });
  const pid = Number(stdout);
  if (exitCode === 0 && Number.isInteger(pid) && pid > 1) return pid;
  throw new HuskError('internal', `start the pod's namespaces: exit code ${exitCode}: ${stderr.slice(0, 200)}`);
}

/** Ids become folder names. @throws HuskError `invalid-argument` */
export function checkId(id: string): void {
  if (/^[0-9a-f]{1,64}$/.test(id)) return;
  throw new HuskError('invalid-argument', `container_id "${id.slice(0, 64)}": wanted hex digits`);
}
