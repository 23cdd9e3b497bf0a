/** A real gateway process with fake guests, in a folder of its own. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HuskError } from '../../base/errors.ts';
import { silentLog } from '../../base/log.ts';
import type { Agent } from '../agent.ts';
import { createGatewayHub, type GatewayHub } from '../gateway-hub.ts';
import { type AgentScript, FakeAgent } from './fake-agent.ts';
import { type ChannelFaults, FakeChannel } from './fake-channel.ts';
import { LogSink } from './log-sink.ts';

export interface FakeGuest {
  readonly id: string;
  readonly agent: FakeAgent;
  readonly channel: FakeChannel;
}

/** Folder, gateway and guests of one test. */
export class GatewayHarness implements AsyncDisposable {
  readonly folder: string;
  readonly sink: LogSink = new LogSink();
  readonly #closing = new AsyncDisposableStack();
  #hub: GatewayHub | undefined;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async start(): Promise<GatewayHarness> {
    const harness = new GatewayHarness(await mkdtemp(join(tmpdir(), 'husk-gw-')));
    await harness.openHub();
    return harness;
  }

  get hub(): GatewayHub {
    if (this.#hub === undefined) throw new HuskError('internal', 'use the hub of the harness: none is open');
    return this.#hub;
  }

  /** As a huskd that starts does. */
  async openHub(): Promise<GatewayHub> {
    this.#hub = await createGatewayHub({
      folder: join(this.folder, 'gateway'),
      nodePath: process.execPath,
      program: join(import.meta.dirname, '../../gateway/main.ts'),
      settings: JSON.stringify({ streaming: { address: '127.0.0.1', port: 0 } }),
      log: silentLog,
      events: this.sink,
    });
    return this.#hub;
  }

  /** As a huskd that ends does: the gateway stays. */
  async closeHub(): Promise<void> {
    await this.#hub?.close();
    this.#hub = undefined;
  }

  /** A guest behind its channel, not attached yet. */
  async guest(id: string, script: AgentScript = {}, faults: ChannelFaults = {}): Promise<FakeGuest> {
    const agent = await FakeAgent.listen(join(this.folder, `${id}.agent`), script);
    this.#closing.defer(() => agent.close());
    const channel = await FakeChannel.listen(join(this.folder, `${id}.sock`), join(this.folder, `${id}.agent`), faults);
    this.#closing.defer(() => channel.close());
    return { id, agent, channel };
  }

  async attach(guest: FakeGuest, timeoutMs = 5_000): Promise<Agent> {
    const { agent } = await this.hub.attach(
      { id: guest.id, agentSocket: guest.channel.path, linkKey: testLinkKey, resume: this.sink.resume() },
      { timeoutMs },
    );
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#hub === undefined) await this.openHub();
    await this.#hub?.shutdown();
    await this.#closing.disposeAsync();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** The key of every link in tests. */
export const testLinkKey = 'feedfacecafebeef';

/** A container's id that a test can read. */
export function testId(digit: string): string {
  return digit.repeat(64);
}

/** An empty request to create a container. */
export function createRequest(containerId: string): Parameters<Agent['createContainer']>[0] {
  return {
    containerId,
    specJson: Buffer.from('{}'),
    layers: [],
    user: undefined,
    tty: false,
    stdin: false,
    stdinOnce: false,
    files: [],
    volumes: [],
    mounts: [],
  };
}
