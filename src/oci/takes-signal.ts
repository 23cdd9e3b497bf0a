/** Whether a signal would reach a process, by what its /proc tells. */
import { constants } from 'node:os';

const { SIGKILL, SIGSTOP } = constants.signals;

/**
 * Whether the kernel delivers the signal, by the text of /proc/PID/status.
 *
 * The first process of a PID namespace gets from outside only SIGKILL, SIGSTOP, and what it has a
 * handler for; the rest is dropped without a word (pid_namespaces(7)). What it blocks is kept for it: so
 * do those who wait with sigwaitinfo(2) or signalfd(2).
 */
export function takesSignal(status: string, signal: number): boolean {
  const namespaces = fieldOf(status, 'NSpid')?.split('\t') ?? [];
  const isFirst = namespaces.length > 1 && namespaces.at(-1) === '1';
  if (!isFirst || signal === SIGKILL || signal === SIGSTOP) return true;
  return ['SigBlk', 'SigCgt'].some((set) => hasSignal(status, set, signal));
}

/** A set is 16 hexadecimal digits, the lowest signals in the last one. */
function hasSignal(status: string, set: string, signal: number): boolean {
  const digits = fieldOf(status, set) ?? '';
  const digit = Number.parseInt(digits.charAt(digits.length - 1 - ((signal - 1) >> 2)), 16);
  return ((digit >> ((signal - 1) & 3)) & 1) === 1;
}

/** Without a pattern: to compile one takes a fresh clone longer than to use it. */
function fieldOf(status: string, name: string): string | undefined {
  const start = status.indexOf(`\n${name}:\t`);
  if (start < 0) return undefined;
  const end = status.indexOf('\n', start + 1);
  return status.slice(start + name.length + 3, end < 0 ? undefined : end);
}
