/** The records of pods and containers, with the names they hold. */
import type { Clock } from '../../base/clock.ts';
import { HuskError } from '../../base/errors.ts';
import type { RecordStore } from '../../base/records.ts';
import { findById } from '../id-lookup.ts';
import { containerName, NameRegistry, sandboxName } from '../names.ts';
import type { ContainerRecord, ContainerStatusRecord, SandboxRecord, SandboxStatus } from '../records.ts';
import { containerEvent, type PodEventKind, PodEvents, sandboxEvents } from './pod-events.ts';

/** Version of the records that this code reads and writes. */
const knownVersion = 1;

/** Bookkeeping only: every method is one synchronous step. Who listens to `events` hears of every change. */
export class PodStore {
  readonly #sandboxes: RecordStore<SandboxRecord>;
  readonly #containers: RecordStore<ContainerRecord>;
  readonly #sandboxNames = new NameRegistry('pod sandbox');
  readonly #containerNames = new NameRegistry('container');
  readonly #clock: Clock;
  readonly events: PodEvents = new PodEvents();

  /** @throws HuskError `failed-precondition` for a record of another version */
  constructor(sandboxes: RecordStore<SandboxRecord>, containers: RecordStore<ContainerRecord>, clock: Clock) {
    this.#clock = clock;
    this.#sandboxes = sandboxes;
    this.#containers = containers;
    for (const record of sandboxes.list()) {
      checkVersion('pod sandbox', record);
      this.#sandboxNames.reserve(sandboxName(record.metadata), record.id);
    }
    for (const record of containers.list()) {
      checkVersion('container', record);
      this.#containerNames.reserve(containerName(record.sandboxId, record.metadata), record.id);
    }
  }

  /** By id or prefix. @throws HuskError `invalid-argument` when several begin so */
  findSandbox(idOrPrefix: string): SandboxRecord | undefined {
    return findById(this.#sandboxes, idOrPrefix, 'pod sandbox');
  }

  /** By id or prefix. @throws HuskError `invalid-argument` when several begin so */
  findContainer(idOrPrefix: string): ContainerRecord | undefined {
    return findById(this.#containers, idOrPrefix, 'container');
  }

  sandboxes(): SandboxRecord[] {
    return this.#sandboxes.list();
  }

  containers(): ContainerRecord[] {
    return this.#containers.list();
  }

  containersOf(sandboxId: string): ContainerRecord[] {
    return this.#containers.list().filter((record) => record.sandboxId === sandboxId);
  }

  /** Takes the pod's name and writes its first record. @throws HuskError `already-exists` */
  addSandbox(record: SandboxRecord): void {
    const name = sandboxName(record.metadata);
    this.#sandboxNames.reserve(name, record.id);
    try {
      this.#sandboxes.put(record.id, record);
    } catch (caught) {
      this.#sandboxNames.release(name, record.id);
      throw caught;
    }
  }

  /** The container that holds the name within the pod. */
  containerNamed(sandboxId: string, metadata: ContainerRecord['metadata']): ContainerRecord | undefined {
    const holder = this.#containerNames.holder(containerName(sandboxId, metadata));
    return holder === undefined ? undefined : this.#containers.get(holder);
  }

  /** Takes the container's name and writes its first record. @throws HuskError `already-exists` */
  addContainer(record: ContainerRecord): void {
    const name = containerName(record.sandboxId, record.metadata);
    this.#containerNames.reserve(name, record.id);
    try {
      this.#containers.put(record.id, record);
    } catch (caught) {
      this.#containerNames.release(name, record.id);
      throw caught;
    }
  }

  /** Changes what happened to a pod; what was asked for never changes. Returns the new record. */
  patchSandbox(id: string, change: Partial<SandboxStatus>): SandboxRecord | undefined {
    const record = this.#sandboxes.get(id);
    if (record === undefined) return undefined;
    const changed = { ...record, status: { ...record.status, ...change } };
    this.#sandboxes.put(id, changed);
    this.#tellOfSandbox(record, changed);
    return changed;
  }

  /** Changes what happened to a container. Returns the new record. */
  patchContainer(id: string, change: Partial<ContainerStatusRecord>): ContainerRecord | undefined {
    const record = this.#containers.get(id);
    if (record === undefined) return undefined;
    const changed = { ...record, status: { ...record.status, ...change } };
    this.#containers.put(id, changed);
    this.#tellOfContainer(record, changed);
    return changed;
  }

  dropSandbox(record: SandboxRecord): void {
    const last = this.#sandboxes.get(record.id);
    this.#sandboxes.delete(record.id);
    if (last !== undefined) this.#tellOfSandbox(last, undefined);
    this.#sandboxNames.release(sandboxName(record.metadata), record.id);
  }

  dropContainer(record: ContainerRecord): void {
    const last = this.#containers.get(record.id);
    this.#containers.delete(record.id);
    if (last !== undefined) this.#tellOfContainer(last, undefined);
    this.#containerNames.release(containerName(record.sandboxId, record.metadata), record.id);
  }

  #tellOfSandbox(before: SandboxRecord, after: SandboxRecord | undefined): void {
    for (const kind of sandboxEvents(before, after)) this.#tell(kind, before.id, after ?? before);
  }

  #tellOfContainer(before: ContainerRecord, after: ContainerRecord | undefined): void {
    const kind = containerEvent(before, after);
    if (kind !== undefined) this.#tell(kind, before.id, this.#sandboxes.get(before.sandboxId));
  }

  #tell(kind: PodEventKind, id: string, sandbox: SandboxRecord | undefined): void {
    if (!this.events.wanted) return;
    const containers = sandbox === undefined ? [] : this.containersOf(sandbox.id);
    const atNs = this.#clock.wallNs();
    this.events.tell({ kind, id, atNs, sandbox, containers: containers.filter(({ status }) => !status.intended) });
  }
}

function checkVersion(what: string, record: { readonly id: string; readonly version: number }): void {
  if (record.version === knownVersion) return;
  throw new HuskError(
    'failed-precondition',
    `read the record of ${what} "${record.id}": version ${record.version}, wanted ${knownVersion}`,
    { stage: 'recover', hint: 'start the version of husk that wrote it' },
  );
}
