/** Sends output and exits to whoever listens now; what was not acknowledged is sent again to the next one. */
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { type Event, type EventsRequest, Stream } from '../../src/gen/agent/v1/agent.ts';
import type { Container } from './container.ts';
import type { OutputStream } from './output-stream.ts';

type Call = ServerDuplexStream<EventsRequest, Event>;
const maxChunkBytes = 64 * 1024;

/** How far one output was sent on the current stream. */
interface Cursor {
  sent: bigint;
  endSent: boolean;
}

interface Listener {
  readonly call: Call;
  readonly cursors: Map<string, Cursor>;
  readonly exitsSent: Set<string>;
  blocked: boolean;
}

export class EventStream {
  readonly #containers: ReadonlyMap<string, Container>;
  #listener: Listener | undefined;
  /** The newest stream: an older one is not listened to any more. */
  #current: Call | undefined;
  #scheduled = false;
  /** Where the next look begins, so that a talkative container does not silence those after it. */
  #turn = 0;

  constructor(containers: ReadonlyMap<string, Container>) {
    this.#containers = containers;
  }

  /** A new stream replaces the one before. Nothing is sent until its `resume` came. */
  attach(call: Call): void {
    this.#current?.end();
    this.#current = call;
    this.#listener = undefined;
    call.on('data', (request: EventsRequest) => {
      if (this.#current === call) this.#receive(call, request);
    });
    const gone = (): void => {
      if (this.#current !== call) return;
      this.#current = undefined;
      this.#listener = undefined;
    };
    call.on('error', gone);
    call.on('cancelled', gone);
    call.on('end', () => {
      gone();
      call.end();
    });
  }

  /** Something may be there to send. Many changes in one turn of the event loop are one look. */
  changed(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  #receive(call: Call, { kind }: EventsRequest): void {
    switch (kind?.$case) {
      case 'resume':
        this.#listener = { call, cursors: new Map(), exitsSent: new Set(), blocked: false };
        for (const { containerId, stdoutOffset, stderrOffset } of kind.value.containers) {
          const container = this.#containers.get(containerId);
          container?.parts.stdout.acknowledge(stdoutOffset);
          container?.parts.stderr.acknowledge(stderrOffset);
        }
        break;
      case 'outputAck': {
        const container = this.#containers.get(kind.value.containerId);
        const output = kind.value.stream === Stream.STREAM_STDERR ? container?.parts.stderr : container?.parts.stdout;
        output?.acknowledge(kind.value.offset);
        break;
      }
      case 'exitAck': {
        const container = this.#containers.get(kind.value.containerId);
        if (container?.exited !== undefined) container.exitAcknowledged = true;
        break;
      }
      case undefined:
        break;
      default:
        kind satisfies never;
    }
    this.changed();
  }

  /** One chunk of each output in turn, until all is sent or the link is full. */
  #send(): void {
    const listener = this.#listener;
    if (listener === undefined || listener.blocked) return;
    const containers = [...this.#containers.values()];
    for (let quiet = 0; quiet < containers.length; ) {
      const container = containers[this.#turn % containers.length] as Container;
      this.#turn = (this.#turn + 1) % containers.length;
      quiet += 1;
      for (const event of this.#next(listener, container)) {
        quiet = 0;
        if (listener.call.write(event)) continue;
        listener.blocked = true;
        listener.call.once('drain', () => {
          listener.blocked = false;
          this.changed();
        });
        return;
      }
    }
  }

  *#next(listener: Listener, container: Container): Generator<Event> {
    const { id, stdout, stderr } = container.parts;
    const outputs = [
      [Stream.STREAM_STDOUT, stdout],
      [Stream.STREAM_STDERR, stderr],
    ] as const;
    let ended = true;
    for (const [stream, output] of outputs) {
      const cursor = cursorOf(listener, `${id} ${stream}`, output);
      const chunk = nextChunk(cursor, output);
      if (chunk !== undefined) yield { kind: { $case: 'output', value: { containerId: id, stream, ...chunk } } };
      ended &&= cursor.endSent;
    }
    if (ended && container.exited !== undefined && !container.exitAcknowledged && !listener.exitsSent.has(id)) {
      listener.exitsSent.add(id);
      yield { kind: { $case: 'exited', value: container.exited } };
    }
  }
}

function cursorOf(listener: Listener, key: string, output: OutputStream): Cursor {
  const known = listener.cursors.get(key);
  if (known !== undefined) return known;
  const fresh = { sent: output.ring.start, endSent: false };
  listener.cursors.set(key, fresh);
  return fresh;
}

function nextChunk(cursor: Cursor, { ring }: OutputStream): { offset: bigint; data: Buffer; end: boolean } | undefined {
  const { offset, data } = ring.read(cursor.sent, maxChunkBytes);
  const end = ring.ended && offset + BigInt(data.length) === ring.end;
  if (data.length === 0 && (!end || cursor.endSent)) return undefined;
  cursor.sent = offset + BigInt(data.length);
  cursor.endSent = end;
  return { offset, data, end };
}
