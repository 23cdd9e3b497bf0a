/** QMP's lines (qemu: docs/interop/qmp-spec.txt). Pure. QEMU may be owned by its guest: nothing is believed. */
import { HuskError } from '../../base/errors.ts';

/** The longest line that is read; the console's ring in base64 is the largest answer. */
export const maxQmpLineBytes = 256 * 1024;
const maxTextLength = 500;

export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: string }
  | { readonly kind: 'return'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number | undefined; readonly description: string }
  | { readonly kind: 'event'; readonly name: string; readonly data: Readonly<Record<string, unknown>> };

/** Arguments of the commands that husk gives, by name. */
export interface QmpCommands {
  readonly qmp_capabilities: undefined;
  readonly 'query-status': undefined;
  readonly 'query-migrate': undefined;
  readonly quit: undefined;
  readonly 'migrate-set-capabilities': {
    readonly capabilities: readonly { readonly capability: string; readonly state: boolean }[];
  };
  readonly 'migrate-set-parameters': Readonly<Record<string, number>>;
  readonly migrate: { readonly uri: string };
  readonly 'migrate-incoming': { readonly uri: string };
  readonly 'ringbuf-read': { readonly device: string; readonly size: number; readonly format: 'base64' };
  readonly set_link: { readonly name: string; readonly up: boolean };
  readonly 'blockdev-add': Readonly<Record<string, unknown>>;
  readonly 'blockdev-reopen': { readonly options: readonly Readonly<Record<string, unknown>>[] };
  readonly 'blockdev-del': { readonly 'node-name': string };
  readonly block_resize: { readonly 'node-name': string; readonly size: number };
  readonly device_add: Readonly<Record<string, string>>;
  readonly 'qom-list': { readonly path: string };
  readonly 'query-named-block-nodes': { readonly flat: boolean };
}

export type QmpCommandName = keyof QmpCommands;
/** A command with its arguments, ready to be sent. */
export type QmpCommand = {
  [Name in QmpCommandName]: { readonly name: Name; readonly args: QmpCommands[Name] };
}[QmpCommandName];

/** One line, newline included. */
export function encodeQmp(id: number, command: QmpCommand): string {
  const args = command.args === undefined ? {} : { arguments: command.args };
  return `${JSON.stringify({ execute: command.name, ...args, id })}\n`;
}

/** Reads one line. @throws HuskError `data-loss` */
export function decodeQmp(line: string): QmpMessage {
  const message = asRecord(parseJson(line));
  const version = asRecord(asRecord(asRecord(message?.['QMP'])?.['version'])?.['qemu']);
  if (version !== undefined) {
    const numbers = [version['major'], version['minor'], version['micro']];
    if (numbers.every(Number.isSafeInteger)) return { kind: 'greeting', version: numbers.join('.') };
  }
  const id = message?.['id'];
  if (message !== undefined && 'return' in message && typeof id === 'number') {
    return { kind: 'return', id, value: message['return'] };
  }
  const error = asRecord(message?.['error']);
  if (error !== undefined) {
    const description = printable(String(typeof error['desc'] === 'string' ? error['desc'] : 'no description'));
    return { kind: 'error', id: typeof id === 'number' ? id : undefined, description };
  }
  const name = message?.['event'];
  if (typeof name === 'string') {
    return { kind: 'event', name: printable(name), data: asRecord(message?.['data']) ?? {} };
  }
  throw new HuskError('data-loss', `read QMP line "${printable(line)}": neither greeting, reply nor event`);
}

/** The field of a reply when it is a short text, else undefined. */
export function textField(value: unknown, name: string): string | undefined {
  const field = asRecord(value)?.[name];
  return typeof field === 'string' ? printable(field) : undefined;
}

/** The object, or undefined for anything else. */
export function asRecord(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}

/** Text of a guest for a log or an error: short, and without control characters. */
export function printable(text: string): string {
  return text.slice(0, maxTextLength).replaceAll(/[^\x20-\x7e]/g, '?');
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (caught) {
    throw new HuskError('data-loss', `read QMP line "${printable(line)}": not JSON`, { cause: caught });
  }
}
