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
  const namespaces = /^NSpid:\t(.*)$/m.exec(status)?.[1]?.split('\t') ?? [];
  const isFirst = namespaces.length > 1 && namespaces.at(-1) === '1';
  if (!isFirst || signal === SIGKILL || signal === SIGSTOP) return true;
  return ['SigBlk', 'SigCgt'].some((set) => hasSignal(status, set, signal));
}

function hasSignal(status: string, set: string, signal: number): boolean {
  const digits = new RegExp(`^${set}:\\t([0-9a-f]{16})$`, 'm').exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${digits}`) >> BigInt(signal - 1)) & 1n) === 1n;
}
