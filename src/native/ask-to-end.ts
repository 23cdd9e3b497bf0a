/** Asking a native container to end by its stop signal. */
import { readFile } from 'node:fs/promises';
import { askToEnd } from '../oci/ask-to-end.ts';
import { takesSignal } from '../oci/takes-signal.ts';
import { isContainerProcess, readPidFile, signalNumber, signalProcess } from './processes.ts';

export interface StopWish {
  readonly containerId: string;
  readonly pidFile: string;
  readonly stopSignal: string;
  readonly graceMs: number;
  /** Resolves when its exit was reported. */
  readonly ended: Promise<void>;
}

/** Sends the signal as soon as the program can take it, and waits until it has ended or the grace is over. */
export async function askContainerToEnd({ containerId, pidFile, stopSignal, ...wish }: StopWish): Promise<void> {
  const signal = signalNumber(stopSignal);
  const trySend = async (): Promise<boolean> => {
    const pid = await readPidFile(pidFile);
    if (pid === undefined || !(await isContainerProcess(pid, containerId))) return true;
    if (!(await isReady(pid, signal))) return false;
    signalProcess(pid, signal);
    return true;
  };
  await askToEnd({ ...wish, trySend });
}

/** It takes the signal, and is the program: runC's own process, which becomes that, catches signals too. */
async function isReady(pid: number, signal: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1').catch(() => '');
  return takesSignal(status, signal) && !/^Name:\trunc:\[/m.test(status);
}
