/** One connection to a QEMU's QMP socket. */
import { connect, type Socket } from 'node:net';
import split2 from 'split2';
import type { Clock } from '../../base/clock.ts';
import { withDeadline } from '../../base/deadline.ts';
import { HuskError } from '../../base/errors.ts';
import { mark } from '../../base/trace.ts';
import { decodeQmp, encodeQmp, maxQmpLineBytes, type QmpCommand, type QmpMessage } from './qmp-codec.ts';

export type QmpEvent = Extract<QmpMessage, { kind: 'event' }>;

export interface QmpClientOptions {
  readonly clock: Clock;
  readonly onEvent: (event: QmpEvent) => void;
}

interface Waiting {
  readonly command: QmpCommand;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: HuskError) => void;
}

/** A working QEMU sends a handful of events in its life; more in a second is an attack on huskd. */
const maxEventsPerSecond = 200;
/** More commands waiting than any sequence of ours has. */
const maxWaiting = 64;

/**
 * Commands go out in one write, replies come back by number. Whatever breaks the protocol ends the
 * connection, and `closed` says why; commands in flight fail with it.
 */
export class QmpClient {
  /** Resolves when the connection has ended, with the reason. */
  readonly closed: Promise<HuskError>;
  readonly #socket: Socket;
  readonly #options: QmpClientOptions;
  readonly #waiting = new Map<number, Waiting>();
  readonly #end: (error: HuskError) => void;
  #nextId = 1;
  #ended: HuskError | undefined;
  #windowStart = 0;
  #eventsInWindow = 0;

  constructor(path: string, options: QmpClientOptions) {
    this.#options = options;
    const closed = Promise.withResolvers<HuskError>();
    this.closed = closed.promise;
    this.#end = closed.resolve;
    this.#socket = connect(path);
    this.#socket.on('error', (error) => this.#fail('unavailable', `socket "${path}": ${error.message}`, error));
    this.#socket.on('close', () => this.#fail('unavailable', `socket "${path}": closed by QEMU`));
    const lines = split2({ maxLength: maxQmpLineBytes });
    lines.on('data', (line: string) => this.#read(line));
    lines.on('error', (error) =>
      this.#fail('data-loss', `socket "${path}": line over ${maxQmpLineBytes} bytes`, error),
    );
    this.#socket.pipe(lines);
  }

  /** Leaves the capabilities' negotiation behind; can be sent before QEMU listens to its socket. */
  static readonly negotiation: QmpCommand = { name: 'qmp_capabilities', args: undefined };

  /**
   * Sends the commands in one write and waits for all replies.
   *
   * @returns what each returned; of a hostile QEMU: anything
   * @throws HuskError `internal` with QEMU's text of the first error, `deadline-exceeded`, `unavailable`
   */
  async execute(commands: readonly QmpCommand[], timeoutMs: number, signal?: AbortSignal): Promise<unknown[]> {
    const names = commands.map((command) => command.name).join(', ');
    if (this.#ended !== undefined) throw this.#ended;
    if (this.#waiting.size + commands.length > maxWaiting) {
      throw new HuskError('resource-exhausted', `QMP ${names}: ${this.#waiting.size} commands wait already`);
    }
    let text = '';
    const ids: number[] = [];
    const replies = commands.map((command) => {
      const id = this.#nextId++;
      ids.push(id);
      text += encodeQmp(id, command);
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      this.#waiting.set(id, { command, resolve, reject });
      return promise;
    });
    this.#socket.write(text);
    const all = Promise.all(replies);
    // The deadline may win; the replies then fail, if at all, with nobody listening.
    all.catch(() => undefined);
    try {
      return await withDeadline(`QMP ${names}`, timeoutMs, signal, () => all);
    } finally {
      for (const id of ids) this.#waiting.delete(id);
    }
  }

  /** Ends the connection. */
  close(): void {
    this.#fail('cancelled', 'QMP connection closed');
  }

  #read(line: string): void {
    if (this.#ended !== undefined) return;
    try {
      const message = decodeQmp(line);
      if (message.kind === 'greeting') mark('qmp_greeting');
      if (message.kind === 'event') this.#event(message);
      if (message.kind === 'return') this.#waiting.get(message.id)?.resolve(message.value);
      if (message.kind === 'error') this.#error(message.id, message.description);
    } catch (caught) {
      this.#fail('data-loss', HuskError.from(caught).message, caught);
    }
  }

  #error(id: number | undefined, description: string): void {
    const waiting = id === undefined ? undefined : this.#waiting.get(id);
    waiting?.reject(new HuskError('internal', `QMP ${waiting.command.name}: ${description}`));
  }

  #event(event: QmpEvent): void {
    const now = this.#options.clock.monotonicMs();
    if (now - this.#windowStart > 1000) {
      this.#windowStart = now;
      this.#eventsInWindow = 0;
    }
    this.#eventsInWindow += 1;
    if (this.#eventsInWindow > maxEventsPerSecond) {
      throw new HuskError('resource-exhausted', `QMP: more than ${maxEventsPerSecond} events in a second`);
    }
    this.#options.onEvent(event);
  }

  #fail(kind: 'unavailable' | 'data-loss' | 'cancelled', message: string, cause?: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = new HuskError(kind, message, { cause });
    this.#socket.destroy();
    for (const waiting of this.#waiting.values()) waiting.reject(this.#ended);
    this.#waiting.clear();
    this.#end(this.#ended);
  }
}
