/** The containers of one VM, as far as the gateway must know them. */
import { type ContainerOffsets, type OutputAck, Stream } from '../../gen/agent/v1/agent.ts';
import type { SessionEvent } from '../../gen/gateway/v1/gateway.ts';
import { ContainerOutput, type StreamName } from './container-output.ts';

/** Events of removed containers may still be on their way; this many ids are remembered for it. */
const maxRemoved = 256;
const streams = [
  ['stdout', Stream.STREAM_STDOUT],
  ['stderr', Stream.STREAM_STDERR],
] as const;

/** The wire's name of a stream, or undefined for one that does not exist. */
export function streamName(stream: Stream): StreamName | undefined {
  return streams.find(([, wire]) => wire === stream)?.[0];
}

/** What is known, and what waits to be sent to huskd. */
export class Containers {
  readonly #vmId: string;
  readonly #known = new Map<string, ContainerOutput>();
  readonly #removed = new Set<string>();

  constructor(vmId: string, resume: readonly ContainerOffsets[]) {
    this.#vmId = vmId;
    for (const { containerId, stdoutOffset, stderrOffset } of resume) {
      this.#known.set(containerId, new ContainerOutput(containerId, stdoutOffset, stderrOffset));
    }
  }

  get(id: string): ContainerOutput | undefined {
    return this.#known.get(id);
  }

  has(id: string): boolean {
    return this.#known.has(id);
  }

  wasRemoved(id: string): boolean {
    return this.#removed.has(id);
  }

  /** A container is about to be created. A second try of one that is known changes nothing. */
  add(id: string): void {
    this.#removed.delete(id);
    if (!this.#known.has(id)) this.#known.set(id, new ContainerOutput(id, 0n, 0n));
  }

  /** The container is no more: what it had still to say is not wanted. */
  remove(id: string): void {
    if (!this.#known.delete(id)) return;
    this.#removed.add(id);
    const [oldest] = this.#removed;
    if (this.#removed.size > maxRemoved && oldest !== undefined) this.#removed.delete(oldest);
  }

  /** Where the guest must start, and the state that fits to it. */
  restart(): ContainerOffsets[] {
    return [...this.#known.values()].map((container) => {
      container.restart();
      return { containerId: container.id, stdoutOffset: container.stdout.acked, stderrOffset: container.stderr.acked };
    });
  }

  /** Whether a stream holds more than the limit. */
  fullerThan(limit: number): boolean {
    for (const { stdout, stderr } of this.#known.values()) {
      if (stdout.heldBytes > limit || stderr.heldBytes > limit) return true;
    }
    return false;
  }

  /** huskd has a new session: everything that it did not acknowledge is sent again. */
  sendAgain(): void {
    for (const container of this.#known.values()) container.sendAgain();
  }

  /** The next event for huskd. */
  next(): SessionEvent['kind'] {
    for (const container of this.#known.values()) {
      for (const [name, stream] of streams) {
        const chunk = container[name].nextChunk();
        if (chunk === undefined) continue;
        const value = { vmId: this.#vmId, containerId: container.id, stream, ...chunk };
        return { $case: 'log', value };
      }
      const exited = container.nextExit();
      if (exited !== undefined) return { $case: 'exited', value: { vmId: this.#vmId, exited } };
    }
    return undefined;
  }

  /** True when the guest is to be told. */
  acknowledge({ containerId, stream, offset }: OutputAck): boolean {
    const name = streamName(stream);
    const container = this.#known.get(containerId);
    return name !== undefined && container !== undefined && container[name].acknowledge(offset);
  }
}
