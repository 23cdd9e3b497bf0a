import { constants } from 'node:os';
import { sleep } from '../../../src/base/deadline.ts';
import { HuskError } from '../../../src/base/errors.ts';
import { mark } from '../../../src/base/trace.ts';
import type { StopContainerRequest, StopContainerResponse } from '../../../src/gen/agent/v1/agent.ts';
import { askToEnd, endedWithin } from '../../../src/oci/ask-to-end.ts';
import type { Container } from '../container.ts';
import type { Pod } from '../pod.ts';
import type { Answer } from '../steps.ts';

/** A killed process is gone in milliseconds; one stuck in the kernel is not to hold the call for ever. */
const killedMs = 15_000;
const firstRealtime = 34;
const lastSignal = 64;

/** StopContainer: the signal, the grace period, then SIGKILL; or the signal alone. Absent or exited: done. */
export async function stopContainer(pod: Pod, request: StopContainerRequest): Promise<Answer<StopContainerResponse>> {
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
    const trySend = (): boolean => {
      if (!container.takes(signal)) return false;
      container.signal(signal);
      return true;
    };
    await askToEnd({ graceMs: Number(graceMs), ended: container.ended, trySend });
  }
  if (container.exited === undefined) {
    container.killAll();
    if (request.lastWords === true) return await lastWords(container);
    await endedWithin(container.ended, killedMs);
  }
  if (container.exited !== undefined) return {};
  throw new HuskError('deadline-exceeded', `stop container "${containerId}": still there ${killedMs} ms after SIGKILL`);
}

/** Of a container that was killed: where its outputs end. Nothing of that where something does not let go of them. */
async function lastWords(container: Container): Promise<Answer<StopContainerResponse>> {
  const { stdout, stderr } = container.parts;
  mark('killed');
  for (let [waitMs, leftMs] = [1, killedMs]; leftMs > 0; waitMs += 1) {
    // The processor is theirs who are to end.
    await sleep(waitMs);
    leftMs -= waitMs;
    const drained = [stdout.drain(), stderr.drain()];
    if (drained.every(Boolean)) return { lastOutput: { stdoutEnd: stdout.written, stderrEnd: stderr.written } };
  }
  return {};
}

/** `TERM`, `SIGTERM`, `15`, `RTMIN+3`. @throws HuskError `invalid-argument` */
export function parseSignal(text: string): number {
  // Without a pattern for what is usual: a clone would have to compile it.
  const upper = text.toUpperCase();
  const name = upper.startsWith('SIG') ? upper.slice(3) : upper;
  if (name === '') return constants.signals.SIGTERM;
  const named = (constants.signals as Readonly<Record<string, number | undefined>>)[`SIG${name}`];
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
