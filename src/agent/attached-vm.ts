/** What huskd knows of one attached VM: how far each log has come, and what is being handled. */
import { sleep } from '../base/deadline.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type ContainerOffsets, Stream } from '../gen/agent/v1/agent.ts';
import type { LogChunk, SessionRequest, VmContainerExited } from '../gen/gateway/v1/gateway.ts';
import type { AgentEvents, AttachRequest } from './agent.ts';

const firstRetryMs = 200;
const longestRetryMs = 5_000;

type Offsets = { stdout: bigint; stderr: bigint };

/** One VM. Events of it are handled one after the other for each stream, and exactly once. */
export class AttachedVm {
  readonly id: string;
  readonly agentSocket: string;
  readonly linkKey: string;
  readonly #log: Log;
  readonly #closed = new AbortController();
  readonly #offsets = new Map<string, Offsets>();
  readonly #handling = new Map<string, Promise<void>>();
  /** Events that carry another number belong to an earlier attach. */
  generation = 0;
  /** Settles when the VM is attached to the gateway that runs now. */
  ready: Promise<void> = Promise.resolve();
  /** Whether the first attach has succeeded. */
  attached = false;
  lost = false;

  constructor(vm: AttachRequest, log: Log) {
    this.id = vm.id;
    this.agentSocket = vm.agentSocket;
    this.linkKey = vm.linkKey;
    this.#log = log;
    this.advance(vm.resume);
  }

  /** Where the guest must go on. */
  resume(): ContainerOffsets[] {
    return [...this.#offsets].map(([containerId, { stdout, stderr }]) => ({
      containerId,
      stdoutOffset: stdout,
      stderrOffset: stderr,
    }));
  }

  /** Takes over offsets that are further than ours. */
  advance(resume: readonly ContainerOffsets[]): void {
    for (const { containerId, stdoutOffset, stderrOffset } of resume) {
      const known = this.#offsetsOf(containerId);
      if (stdoutOffset > known.stdout) known.stdout = stdoutOffset;
      if (stderrOffset > known.stderr) known.stderr = stderrOffset;
    }
  }

  forget(containerId: string): void {
    this.#offsets.delete(containerId);
  }

  /** Waits until nothing is being handled: from then on the offsets stand still until the next attach. */
  async quiet(): Promise<void> {
    await Promise.allSettled(this.#handling.values());
  }

  /** Handlers that fail are not called again. */
  close(): void {
    this.#closed.abort();
  }

  /** Hands a chunk on, unless it is there already; `acknowledge` is called when it has been stored. */
  onLog(chunk: LogChunk, events: AgentEvents, acknowledge: (request: SessionRequest) => void): void {
    const { vmId, containerId, stream, startOffset, endOffset, lines } = chunk;
    const name = stream === Stream.STREAM_STDERR ? 'stderr' : 'stdout';
    const ack = (): void =>
      acknowledge({ kind: { $case: 'logAck', value: { vmId, ack: { containerId, stream, offset: endOffset } } } });
    const offsets = this.#offsetsOf(containerId);
    if (offsets[name] === endOffset) return ack();
    if (offsets[name] !== startOffset) {
      this.#log.warn(
        { vm: vmId, container: containerId, startOffset, stored: offsets[name] },
        'log chunk that does not fit dropped',
      );
      return;
    }
    this.#once(`${containerId} ${name}`, async () => {
      await events.onLog({ vmId, containerId, stream: name, endOffset, lines });
      offsets[name] = endOffset;
      ack();
    });
  }

  onExit(
    { vmId, exited }: VmContainerExited,
    events: AgentEvents,
    acknowledge: (request: SessionRequest) => void,
  ): void {
    if (exited === undefined) return;
    const { containerId, exitCode, oomKilled, finishedAtNs } = exited;
    this.#once(`${containerId} exit`, async () => {
      await events.onExit({ vmId, containerId, exitCode, oomKilled, finishedAtNs });
      acknowledge({ kind: { $case: 'exitAck', value: { vmId, containerId } } });
    });
  }

  #offsetsOf(containerId: string): Offsets {
    const known = this.#offsets.get(containerId);
    if (known !== undefined) return known;
    const fresh = { stdout: 0n, stderr: 0n };
    this.#offsets.set(containerId, fresh);
    return fresh;
  }

  /** What is being handled already, sent again by a new session, is not handled twice. */
  #once(key: string, work: () => Promise<void>): void {
    if (this.#handling.has(key)) return;
    const handling = this.#untilDone(key, work).finally(() => this.#handling.delete(key));
    this.#handling.set(key, handling);
  }

  async #untilDone(key: string, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#closed;
    for (let delay = firstRetryMs; !signal.aborted; delay = Math.min(2 * delay, longestRetryMs)) {
      try {
        return await work();
      } catch (caught) {
        this.#log.warn(
          { vm: this.id, event: key, error: describeError(caught) },
          'event of a guest not handled; tried again',
        );
      }
      await sleep(delay, signal).catch(() => undefined);
    }
  }
}
