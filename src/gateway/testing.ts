/** A gateway without a process, its guests in memory: for tests. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AgentScript, FakeAgent } from '../agent/testing/fake-agent.ts';
import { type ChannelFaults, FakeChannel } from '../agent/testing/fake-channel.ts';
import { systemClock } from '../base/clock.ts';
import { silentLog } from '../base/log.ts';
import type { SessionEvent } from '../gen/gateway/v1/gateway.ts';
import { Blame } from './blame.ts';
import { Gateway, type SessionSink } from './gateway.ts';
import { defaultLinkLimits, type LinkLimits } from './limits.ts';

/** Keeps what a session gets. */
export class RecordedSession implements SessionSink {
  readonly events: SessionEvent[] = [];
  isReplaced = false;
  #wake: () => void = () => {};

  write(event: SessionEvent): boolean {
    this.events.push(event);
    this.#wake();
    return true;
  }

  replaced(): void {
    this.isReplaced = true;
  }

  /** Waits for the event of the number; the test's own deadline bounds it. */
  async event(at: number): Promise<SessionEvent['kind']> {
    while (this.events.length <= at) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
    return this.events[at]?.kind;
  }
}

/** Gateway and guests of one test. */
export class InProcess implements AsyncDisposable {
  readonly gateway: Gateway;
  readonly folder: string;
  readonly #closing = new AsyncDisposableStack();

  private constructor(folder: string, limits: Partial<LinkLimits>) {
    this.folder = folder;
    const deps = {
      clock: systemClock,
      log: silentLog,
      limits: { ...defaultLinkLimits, ...limits },
      blame: new Blame(),
    };
    this.gateway = new Gateway(deps);
  }

  static async start(limits: Partial<LinkLimits> = {}): Promise<InProcess> {
    return new InProcess(await mkdtemp(join(tmpdir(), 'husk-gw-')), limits);
  }

  async guest(
    id: string,
    script: AgentScript = {},
    faults: ChannelFaults = {},
  ): Promise<{ agent: FakeAgent; channel: FakeChannel }> {
    const agent = await FakeAgent.listen(join(this.folder, `${id}.agent`), script);
    this.#closing.defer(() => agent.close());
    const channel = await FakeChannel.listen(join(this.folder, `${id}.sock`), join(this.folder, `${id}.agent`), faults);
    this.#closing.defer(() => channel.close());
    return { agent, channel };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.gateway.close();
    await this.#closing.disposeAsync();
    await rm(this.folder, { recursive: true, force: true });
  }
}
