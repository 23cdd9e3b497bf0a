/** A small SPDY client for tests: the other end of a session. */
import type { Duplex } from 'node:stream';
import { dataHeader, encodeControl, FrameReader } from './frames.ts';
import { HeaderReader, HeaderWriter } from './header-block.ts';

export interface ClientStream {
  readonly id: number;
  readonly received: Buffer[];
  /** Settles with `fin` or `reset`. */
  readonly ended: Promise<'fin' | 'reset'>;
  readonly replied: Promise<void>;
  send(data: string | Buffer, fin?: boolean): void;
  reset(): void;
}

export interface SpdyClient {
  open(headers: Record<string, string>, fin?: boolean): Promise<ClientStream>;
  ping(id: number): Promise<void>;
  readonly closed: Promise<void>;
}

type Open = { stream: ClientStream; replied: () => void; end: (how: 'fin' | 'reset') => void };

export function spdyClient(connection: Duplex): SpdyClient {
  const streams = new Map<number, Open>();
  const pings = new Map<number, () => void>();
  const writer = new HeaderWriter();
  const reader = new HeaderReader();
  let nextId = 1;
  const closed = read();
  return {
    closed,
    async open(headers, fin = false) {
      const id = nextId;
      nextId += 2;
      const block = await writer.write(new Map(Object.entries(headers)));
      const ended = Promise.withResolvers<'fin' | 'reset'>();
      const replied = Promise.withResolvers<void>();
      const stream: ClientStream = {
        id,
        received: [],
        ended: ended.promise,
        replied: replied.promise,
        send(data, last = false) {
          const bytes = Buffer.from(data as string);
          connection.write(Buffer.concat([dataHeader(id, bytes.length, last), bytes]));
        },
        reset: () => void connection.write(encodeControl({ type: 'rst-stream', streamId: id, status: 5 })),
      };
      streams.set(id, { stream, replied: replied.resolve, end: ended.resolve });
      connection.write(
        encodeControl({ type: 'syn-stream', streamId: id, associatedId: 0, fin, unidirectional: false, block }),
      );
      return stream;
    },
    ping(id) {
      const { promise, resolve } = Promise.withResolvers<void>();
      pings.set(id, resolve);
      connection.write(encodeControl({ type: 'ping', id }));
      return promise;
    },
  };

  async function read(): Promise<void> {
    const frames = new FrameReader();
    try {
      for await (const chunk of connection) {
        for (const frame of frames.push(chunk as Buffer)) {
          if (frame.type === 'ping') pings.get(frame.id)?.();
          if (frame.type === 'syn-reply') {
            await reader.read(frame.block);
            streams.get(frame.streamId)?.replied();
          }
          if (frame.type === 'rst-stream') streams.get(frame.streamId)?.end('reset');
          if (frame.type === 'data') {
            const open = streams.get(frame.streamId);
            if (frame.data.length > 0) open?.stream.received.push(frame.data);
            if (frame.fin) open?.end('fin');
          }
        }
      }
    } catch {
      // The tests look at what arrived.
    } finally {
      writer.close();
      reader.close();
      for (const open of streams.values()) open.end('reset');
    }
  }
}
