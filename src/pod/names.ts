/** Names of pods and containers, of which no two may be alike at a time. */
import { HuskError } from '../base/errors.ts';
import type { ContainerRecord, SandboxRecord } from './records.ts';

/** The name of a pod: its metadata as a whole. JSON, because no separator is safe. */
export function sandboxName(metadata: SandboxRecord['metadata']): string {
  return JSON.stringify([metadata.name, metadata.namespace, metadata.uid, metadata.attempt]);
}

/** The name of a container: unique within its pod. */
export function containerName(sandboxId: string, metadata: ContainerRecord['metadata']): string {
  return JSON.stringify([sandboxId, metadata.name, metadata.attempt]);
}

/** Which id holds a name. */
export class NameRegistry {
  readonly #what: string;
  readonly #holders = new Map<string, string>();

  /** @param what the kind of thing, for messages: `pod sandbox` */
  constructor(what: string) {
    this.#what = what;
  }

  /** The id that holds the name. */
  holder(name: string): string | undefined {
    return this.#holders.get(name);
  }

  /**
   * Takes the name for the id; again for the same id is fine.
   * @throws HuskError `already-exists`, naming the holder
   */
  reserve(name: string, id: string): void {
    const holder = this.#holders.get(name);
    if (holder !== undefined && holder !== id) {
      throw new HuskError('already-exists', `reserve the name ${name}: ${this.#what} "${holder}" has it`, {
        hint: `remove ${this.#what} ${holder} or ask with another attempt`,
      });
    }
    this.#holders.set(name, id);
  }

  /** Gives the name back if the id holds it. */
  release(name: string, id: string): void {
    if (this.#holders.get(name) === id) this.#holders.delete(name);
  }
}
