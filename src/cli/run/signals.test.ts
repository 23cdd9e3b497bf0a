import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { RunSignals } from './signals.ts';

/** Sends this process a signal, and waits until it has come. */
async function raise(name: NodeJS.Signals): Promise<void> {
  const come = once(process, name);
  process.kill(process.pid, name);
  await come;
}

function target(): {
  calls: string[];
  signal: (name: string) => Promise<void>;
  stop: (grace: number) => Promise<void>;
} {
  const calls: string[] = [];
  return {
    calls,
    signal: async (name) => void calls.push(name),
    stop: async (grace) => void calls.push(`stop ${grace}`),
  };
}
const fail = (caught: unknown): never => assert.fail(String(caught));

test('before there is a container the first signal ends the run, and its number is the exit code', async () => {
  using signals = new RunSignals();
  assert.equal(signals.exitCode, undefined);
  await raise('SIGTERM');
  await raise('SIGINT');
  assert.deepEqual([signals.stop.aborted, signals.exitCode], [true, 143]);
});

test('later ones are the container’s: the second interrupt kills it', async () => {
  using signals = new RunSignals();
  const container = target();
  signals.handOver(container, fail);
  for (const name of ['SIGUSR1', 'SIGQUIT', 'SIGINT', 'SIGINT'] as const) await raise(name);
  assert.deepEqual(container.calls, ['USR1', 'QUIT', 'INT', 'stop 0']);
  assert.deepEqual([signals.stop.aborted, signals.exitCode], [false, undefined]);
});

test('a request to stop gives grace, and a second one none', async () => {
  using signals = new RunSignals();
  const container = target();
  signals.handOver(container, fail);
  for (const name of ['SIGTERM', 'SIGHUP'] as const) await raise(name);
  assert.deepEqual(container.calls, ['stop 10', 'stop 0']);
});

test('afterwards the process has its own signals again', () => {
  const before = process.listenerCount('SIGTERM');
  new RunSignals()[Symbol.dispose]();
  assert.equal(process.listenerCount('SIGTERM'), before);
});
