import { constants } from 'node:os';
import { sleep } from '../../../src/base/deadline.ts';
import { HuskError } from '../../../src/base/errors.ts';
import type { StopContainerRequest, StopContainerResponse } from '../../../src/gen/agent/v1/agent.ts';
import type { Container } from '../container.ts';
import type { Pod } from '../pod.ts';

/** A killed process is gone in milliseconds; one stuck in the kernel is not to hold the call for ever. */
const killedMs = 15_000;
/** A program that cannot take the signal yet is looked at so soon again, each time later by half. */
const firstLookMs = 10;
const maxLookMs = 500;
const firstRealtime = 34;
const lastSignal = 64;

/** StopContainer: the signal, the grace period, then SIGKILL; or the signal alone. Absent or exited: done. */
export async function stopContainer(pod: Pod, request: StopContainerRequest): Promise<StopContainerResponse> {
  const { containerId, graceMs } = request;
  const signal = parseSignal(request.signal);
  const container = pod.containers.get(containerId);
  if (container === undefined || container.exited !== undefined) return {};
  if (request.signalOnly === true) {
    if (container.state === 'running') container.signal(signal);
    return {};
  }
  // One that was never started would not understand the signal.
  if (graceMs > 0n && container.state === 'running') {
    await askToEnd(container, signal, Number(graceMs));
  }
  if (container.exited === undefined) {
    container.killAll();
    await endedWithin(container.ended, killedMs);
  }
  if (container.exited !== undefined) return {};
  throw new HuskError('deadline-exceeded', `stop container "${containerId}": still there ${killedMs} ms after SIGKILL`);
}

/**
 * Sends the signal as soon as the program can take it, and waits until it has ended or the grace is over. Under
 * emulation seconds lie between the start of a program and its first handler; runC would send into the void.
 */
async function askToEnd(container: Container, signal: number, graceMs: number): Promise<void> {
  const end = performance.now() + graceMs;
  for (let lookMs = firstLookMs; !container.takes(signal); lookMs = Math.min(lookMs * 1.5, maxLookMs)) {
    const leftMs = end - performance.now();
    if (leftMs <= 0) return;
    await endedWithin(container.ended, Math.min(lookMs, leftMs));
  }
  container.signal(signal);
  await endedWithin(container.ended, Math.max(0, end - performance.now()));
}

/** `TERM`, `SIGTERM`, `15`, `RTMIN+3`. @throws HuskError `invalid-argument` */
export function parseSignal(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, '');
  if (name === '') return constants.signals.SIGTERM;
  const named: number | undefined = Object.entries(constants.signals).find(([known]) => known === `SIG${name}`)?.[1];
  if (named !== undefined) return named;
  const realtime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (realtime !== null) {
    const base = realtime[1] === 'MIN' ? firstRealtime : lastSignal;
    return inRange(base + Number(`${realtime[2] ?? '+'}${realtime[3] ?? 0}`), text);
  }
  return inRange(/^\d{1,2}$/.test(name) ? Number(name) : 0, text);
}

function inRange(signal: number, text: string): number {
  if (signal >= 1 && signal <= lastSignal) return signal;
  throw new HuskError('invalid-argument', `signal "${text.slice(0, 32)}": no such signal`);
}

async function endedWithin(ended: Promise<void>, ms: number): Promise<void> {
  const over = new AbortController();
  await Promise.race([ended, sleep(ms, over.signal).catch(() => undefined)]);
  over.abort();
}
