/** The signals that `husk run` gets: they end its preparation; once the container runs they are the container's. */
import { constants } from 'node:os';

/** How long a container that is told to stop may take, in seconds, as `docker stop` has it. */
const graceSeconds = 10;
const forwarded = ['SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;
const stopping = ['SIGTERM', 'SIGHUP'] as const;

export interface SignalTarget {
  /** Sends a signal, without `SIG`. */
  signal(name: string): Promise<void>;
  /** Asks the container to end, and kills it when the seconds are over. */
  stop(graceSeconds: number): Promise<void>;
}

export class RunSignals implements Disposable {
  readonly #stop = new AbortController();
  readonly #listeners = new Map<NodeJS.Signals, () => void>();
  #target: SignalTarget | undefined;
  #onError: (caught: unknown) => void = () => undefined;
  #received: NodeJS.Signals | undefined;
  #asked = false;

  constructor() {
    for (const name of [...forwarded, ...stopping]) {
      const listener = (): void => this.#take(name);
      this.#listeners.set(name, listener);
      process.on(name, listener);
    }
  }

  /** Fires when a signal comes before there is a container to take it. */
  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  /** 128 and the number of the signal that ended the preparation; undefined: none did. */
  get exitCode(): number | undefined {
    return this.#received === undefined ? undefined : 128 + constants.signals[this.#received];
  }

  /** From now on signals are the container's. The second interrupt kills it, and so does one that follows a stop. */
  handOver(target: SignalTarget, onError: (caught: unknown) => void): void {
    this.#target = target;
    this.#onError = onError;
  }

  [Symbol.dispose](): void {
    for (const [name, listener] of this.#listeners) process.off(name, listener);
  }

  #take(name: NodeJS.Signals): void {
    const target = this.#target;
    if (target === undefined) {
      this.#received ??= name;
      this.#stop.abort();
    } else {
      this.#pass(name, target).catch(this.#onError);
    }
  }

  #pass(name: NodeJS.Signals, target: SignalTarget): Promise<void> {
    const ends = name === 'SIGINT' || stopping.some((each) => each === name);
    const again = ends && this.#asked;
    this.#asked ||= ends;
    if (again) return target.stop(0);
    return stopping.some((each) => each === name) ? target.stop(graceSeconds) : target.signal(name.slice('SIG'.length));
  }
}
