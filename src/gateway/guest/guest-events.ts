/** One stream of events from a guest: checked, put with its container, acknowledged. */
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { Clock } from '../../base/clock.ts';
import { isId } from '../../base/ids.ts';
import type { ContainerExited, Event, EventsRequest, Output, OutputAck } from '../../gen/agent/v1/agent.ts';
import { checkExited, protocolError } from '../check/answers.ts';
import { cleanText } from '../check/text.ts';
import type { LinkLimits } from '../limits.ts';
import type { Budget } from '../link/budget.ts';
import { type Containers, streamName } from './containers.ts';

/** An event that is of no use costs its sender as much as this many bytes. */
const uselessEventCost = 64 * 1024;

export interface GuestEventsOptions {
  readonly call: ClientDuplexStream<EventsRequest, Event>;
  readonly containers: Containers;
  readonly clock: Clock;
  readonly limits: LinkLimits;
  readonly waste: Budget;
  readonly messages: Budget;
  /** Whether huskd listens. */
  readonly wanted: () => boolean;
  /** There may be something new for huskd. */
  readonly onNews: () => void;
}

/** Reads a stream of events while its output can be taken. */
export class GuestEvents {
  readonly #options: GuestEventsOptions;
  readonly #ended: PromiseWithResolvers<unknown> = Promise.withResolvers();
  #slowDown: NodeJS.Timeout | undefined;

  constructor(options: GuestEventsOptions) {
    this.#options = options;
    const { call, containers } = options;
    call.on('data', (event: Event) => this.#receive(event));
    call.on('error', (error: unknown) => this.#stop(error));
    call.on('end', () => this.#stop(undefined));
    call.pause();
    call.write({ kind: { $case: 'resume', value: { containers: containers.restart() } } });
    this.update();
  }

  /** Settles when the stream is over, with the reason; never rejects. */
  get ended(): Promise<unknown> {
    return this.#ended.promise;
  }

  /** Reads on, or stops reading, as things are now. */
  update(): void {
    const { call, containers, limits, wanted } = this.#options;
    const go = this.#slowDown === undefined && wanted() && !containers.fullerThan(limits.streamBytes);
    if (go !== call.isPaused()) return;
    if (go) call.resume();
    else call.pause();
  }

  /** huskd has written it: the guest may forget it. */
  acknowledge(ack: OutputAck): void {
    this.#send({ kind: { $case: 'outputAck', value: ack } });
  }

  acknowledgeExit(containerId: string): void {
    this.#send({ kind: { $case: 'exitAck', value: { containerId } } });
  }

  close(): void {
    this.#stop(undefined);
    this.#options.call.cancel();
  }

  #send(request: EventsRequest): void {
    if (this.#options.call.writable) this.#options.call.write(request);
  }

  #stop(reason: unknown): void {
    clearTimeout(this.#slowDown);
    this.#slowDown = undefined;
    this.#ended.resolve(reason);
  }

  #receive(event: Event): void {
    try {
      this.#take(event);
      if (!this.#options.messages.spend(1)) this.#pauseAWhile();
    } catch (caught) {
      this.#stop(caught);
      this.#options.call.cancel();
      return;
    }
    this.#options.onNews();
    this.update();
  }

  #pauseAWhile(): void {
    if (this.#slowDown !== undefined) return;
    this.#slowDown = setTimeout(() => {
      this.#slowDown = undefined;
      this.update();
    }, this.#options.messages.waitMs());
  }

  #take({ kind }: Event): void {
    switch (kind?.$case) {
      case 'output':
        return this.#takeOutput(kind.value);
      case 'exited':
        return this.#takeExit(kind.value);
      case undefined:
        throw protocolError('an event of no known kind');
      default:
        kind satisfies never;
    }
  }

  #takeOutput(output: Output): void {
    const name = streamName(output.stream);
    if (name === undefined) throw protocolError(`output on stream ${output.stream}: want stdout or stderr`);
    const { containers, clock } = this.#options;
    const container = containers.get(output.containerId);
    if (container === undefined) return this.#useless(output.containerId);
    container.takeOutput(name, output, clock.wallNs());
  }

  #takeExit(told: ContainerExited): void {
    const { containers, clock } = this.#options;
    const exited = checkExited(told, clock.wallNs());
    const container = containers.get(exited.containerId);
    if (container === undefined) {
      if (containers.wasRemoved(exited.containerId)) this.acknowledgeExit(exited.containerId);
      return this.#useless(exited.containerId);
    }
    container.takeExit(exited);
    if (container.exitAcked) this.acknowledgeExit(exited.containerId);
  }

  /** A container that huskd does not know, left behind or invented: ignored, but not for ever. */
  #useless(containerId: string): void {
    if (!isId(containerId)) throw protocolError(`event of container "${cleanText(containerId, 80)}": no such id`);
    if (!this.#options.waste.spend(uselessEventCost))
      throw protocolError('too many events of containers that nobody knows');
  }
}
