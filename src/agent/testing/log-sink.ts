/** A log that remembers what huskd's would: lines appended exactly once, offsets that survive a restart of huskd. */
import { HuskError } from '../../base/errors.ts';
import type { ContainerOffsets } from '../../gen/agent/v1/agent.ts';
import type { AgentEvents } from '../agent.ts';

type StreamName = 'stdout' | 'stderr';
type Exit = Parameters<AgentEvents['onExit']>[0];

export class LogSink implements AgentEvents {
  readonly lines = new Map<string, Buffer[]>();
  readonly exits: Exit[] = [];
  readonly lost: { vmId: string; reason: string }[] = [];
  readonly #offsets = new Map<string, { stdout: bigint; stderr: bigint }>();
  readonly #waiters = new Set<() => void>();
  /** Runs before a chunk is stored; a rejection refuses it. */
  gate: () => Promise<void> = () => Promise.resolve();

  async onLog(chunk: Parameters<AgentEvents['onLog']>[0]): Promise<void> {
    await this.gate();
    const offsets = this.#of(chunk.containerId);
    if (chunk.endOffset <= offsets[chunk.stream]) return;
    offsets[chunk.stream] = chunk.endOffset;
    const key = `${chunk.containerId} ${chunk.stream}`;
    this.lines.set(key, [...(this.lines.get(key) ?? []), Buffer.from(chunk.lines)]);
    this.#changed();
  }

  async onExit(exit: Exit): Promise<void> {
    this.exits.push(exit);
    this.#changed();
  }

  onLinkLost(vmId: string, reason: string): void {
    this.lost.push({ vmId, reason });
    this.#changed();
  }

  resume(): ContainerOffsets[] {
    return [...this.#offsets].map(([containerId, { stdout, stderr }]) => ({
      containerId,
      stdoutOffset: stdout,
      stderrOffset: stderr,
    }));
  }

  /** How far a stream has come. */
  offset(containerId: string, stream: StreamName): bigint {
    return this.#of(containerId)[stream];
  }

  /** The content of the records, partial lines joined. */
  content(containerId: string, stream: StreamName): Buffer {
    const log = Buffer.concat(this.lines.get(`${containerId} ${stream}`) ?? []);
    const parts: Buffer[] = [];
    for (let at = 0; at < log.length; ) {
      const end = log.indexOf(10, at);
      const head = /^\S+ (stdout|stderr) ([PF]) /.exec(log.toString('latin1', at, at + 60));
      if (end < 0 || head?.[1] !== stream)
        throw new HuskError('internal', `no record at ${at}: ${log.toString('latin1', at, at + 80)}`);
      parts.push(log.subarray(at + head[0].length, head[2] === 'F' ? end + 1 : end));
      at = end + 1;
    }
    return Buffer.concat(parts);
  }

  /** Waits for something to become true; the test's own deadline bounds it. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.add(resolve);
      await promise;
    }
  }

  #of(containerId: string): { stdout: bigint; stderr: bigint } {
    const known = this.#offsets.get(containerId) ?? { stdout: 0n, stderr: 0n };
    this.#offsets.set(containerId, known);
    return known;
  }

  #changed(): void {
    for (const wake of this.#waiters) wake();
    this.#waiters.clear();
  }
}
