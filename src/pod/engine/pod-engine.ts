/**
 * The pods of this node, whatever runs them: records, names, order of operations, routing,
 * recovery. Knows CRI's messages and nothing of gRPC, virtual machines or registries.
 */
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { RecordStore } from '../../base/records.ts';
import type { HeldImages } from '../image-view.ts';
import type { PodRuntimeEvents } from '../pod-runtime.ts';
import type { PodPolicy } from '../policy.ts';
import type { ContainerRecord, SandboxRecord } from '../records.ts';
import { ContainerService } from './container-service.ts';
import type { EngineCore } from './core.ts';
import { KeyedMutex } from './keyed-mutex.ts';
import type { PodEvents } from './pod-events.ts';
import { PodStore } from './pod-store.ts';
import { recover } from './recovery.ts';
import { runtimeEvents } from './runtime-events.ts';
import type { PodRuntimes } from './runtimes.ts';
import { SandboxService } from './sandbox-service.ts';
import { StatsService } from './stats-service.ts';

export interface PodEngineOptions {
  readonly sandboxes: RecordStore<SandboxRecord>;
  readonly containers: RecordStore<ContainerRecord>;
  readonly images: HeldImages;
  /** Makes the runtimes: they need the engine's ear, and the engine needs them. Called once, at once. */
  readonly runtimes: (events: PodRuntimeEvents) => PodRuntimes;
  readonly policy: PodPolicy;
  readonly clock: Clock;
  readonly log: Log;
}

/** Call `recover` before anything else. */
export class PodEngine {
  readonly sandboxes: SandboxService;
  readonly containers: ContainerService;
  readonly stats: StatsService;
  /** What happens to pods and containers. */
  readonly events: Pick<PodEvents, 'listen'>;
  readonly #core: EngineCore;

  /** @throws HuskError `failed-precondition` for a record of an unknown version */
  constructor(options: PodEngineOptions) {
    const { images, policy, clock, log } = options;
    const store = new PodStore(options.sandboxes, options.containers, clock);
    const shared = { store, mutex: new KeyedMutex(), images, policy, clock, log };
    this.#core = { ...shared, runtimes: options.runtimes(runtimeEvents(shared)) };
    this.sandboxes = new SandboxService(this.#core);
    this.containers = new ContainerService(this.#core);
    this.stats = new StatsService(this.#core);
    this.events = store.events;
  }

  /** Finishes or takes back what an earlier daemon left half done, and takes up what lives. Never throws. */
  async recover(): Promise<void> {
    await recover(this.#core);
  }

  /** Pods with an operation under way. For tests that look for leaks. */
  get busyPods(): number {
    return this.#core.mutex.size;
  }
}
