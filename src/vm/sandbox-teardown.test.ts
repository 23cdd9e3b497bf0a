import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { HuskError } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { PodSandboxConfig } from '../gen/cri/v1/api.ts';
import type { SandboxRecord } from '../pod/records.ts';
import type { LivePod } from './live-pod.ts';
import type { VmRuntimeOptions } from './options.ts';
import { stopPod } from './sandbox-teardown.ts';

const id = 'a'.repeat(64);
const config = { metadata: { name: 'web', namespace: 'default', uid: 'u', attempt: 0 } };
const record = {
  ...{ id, metadata: config.metadata, status: { ips: [] } },
  configBase64: Buffer.from(PodSandboxConfig.encode(PodSandboxConfig.fromPartial(config)).finish()).toString('base64'),
} as unknown as SandboxRecord;

/** Everything that a stop calls, in the order in which it does. */
function world(fails: readonly string[] = []) {
  const calls: string[] = [];
  const step = (name: string) => async (): Promise<void> => {
    calls.push(name);
    await setImmediate();
    if (fails.includes(name)) throw new HuskError('internal', `${name} failed`);
    calls.push(`${name} done`);
  };
  const options = {
    network: { namespacePath: () => '/run/netns/x', detach: step('DEL'), removeNamespace: step('netns') },
    hub: { detach: step('link') },
    cgroups: { remove: step('cgroup') },
    ...{ stateFolder: '/nonexistent/state', dataFolder: '/nonexistent/data', log: silentLog },
  } as unknown as VmRuntimeOptions;
  const pod = {
    vm: { ref: { id }, cutOff: step('cut off'), destroy: step('kill') },
    volumes: { close: step('volumes') },
    logs: new Map(),
  } as unknown as LivePod;
  return { calls, stop: () => stopPod(options, record, pod, step('last words')) };
}

const after = (calls: readonly string[], later: string, earlier: string): void =>
  assert.ok(
    calls.indexOf(later) > calls.indexOf(earlier) && calls.includes(earlier),
    `${later} after ${earlier}: ${calls.join()}`,
  );

test('a guest is off its network before the address is given back, and says its last words meanwhile', async () => {
  const { calls, stop } = world();
  await stop();
  after(calls, 'DEL', 'cut off done');
  after(calls, 'last words done', 'DEL');
  after(calls, 'kill', 'last words done');
  after(calls, 'link', 'last words done');
  after(calls, 'cgroup', 'kill done');
  after(calls, 'netns', 'DEL done');
});

test('a guest that cannot be cut off is ended first', async () => {
  const { calls, stop } = world(['cut off']);
  await stop();
  assert.equal(calls.includes('last words'), false);
  after(calls, 'DEL', 'kill done');
});

test('every step runs whatever fails, and the failures are told', async () => {
  const { calls, stop } = world(['DEL', 'kill']);
  await assert.rejects(stop(), { kind: 'internal', message: /at vm, network: kill failed/ });
  for (const step of ['cgroup done', 'netns done', 'link done', 'volumes done']) assert.ok(calls.includes(step), step);
});
