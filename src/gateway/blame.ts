/** Which VM the code that runs right now works for: an error that nobody caught ends that VM's link only. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { HuskError } from '../base/errors.ts';

/** Whoever can be ended for an error. */
export interface Blamed {
  readonly id: string;
  fail(error: HuskError): void;
}

/** Follows asynchronous work to the VM that it was started for. */
export class Blame {
  readonly #current = new AsyncLocalStorage<Blamed>();

  /** Runs work, and all that it starts, for the VM. */
  run<T>(vm: Blamed, work: () => T): T {
    return this.#current.run(vm, work);
  }

  /** The VM of the running code. */
  current(): Blamed | undefined {
    return this.#current.getStore();
  }
}
