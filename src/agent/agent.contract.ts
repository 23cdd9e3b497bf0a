/** What every AgentHub does: run against the fake and against the real gateway. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKind } from '../base/errors.ts';
import type { AgentHub } from './agent.ts';
import { createRequest, testId } from './testing/harness.ts';
import type { LogSink } from './testing/log-sink.ts';

/** A hub, a VM to attach, and ways to make things happen in its guest. */
export interface ContractSubject extends AsyncDisposable {
  readonly hub: AgentHub;
  readonly sink: LogSink;
  readonly vm: { readonly id: string; readonly agentSocket: string };
  write(containerId: string, line: string): void;
  exit(containerId: string, exitCode: number): void;
}

/** Registers the tests. */
export function agentContract(name: string, make: () => Promise<ContractSubject>): void {
  const id = testId('a');
  const call = { timeoutMs: 10_000 };

  test(`${name}: a container is created, runs, is stopped and removed`, async () => {
    await using subject = await make();
    const { agent } = await subject.hub.attach({ ...subject.vm, linkKey: 'feedfacecafebeef', resume: [] }, call);
    const { user } = await agent.createContainer(createRequest(id), call);
    assert.deepEqual(user, { uid: 0, gid: 0, supplementalGroups: [] });
    assert.equal((await agent.startContainer(id, call)).startedAtNs > 0n, true);
    assert.equal((await agent.listContainers(call))[0]?.state, 'running');
    await agent.stopContainer({ containerId: id, signal: 'TERM', graceMs: 0n }, call);
    await subject.sink.until(() => subject.sink.exits.length > 0);
    assert.deepEqual([subject.sink.exits[0]?.containerId, subject.sink.exits[0]?.exitCode], [id, 143]);
    await agent.stopContainer({ containerId: id, signal: 'TERM', graceMs: 0n }, call);
    await agent.removeContainer(id, call);
    await agent.removeContainer(id, call);
    assert.deepEqual(await agent.listContainers(call), []);
  });

  test(`${name}: a container that is not there is not found`, async () => {
    await using subject = await make();
    const { agent } = await subject.hub.attach({ ...subject.vm, linkKey: 'feedfacecafebeef', resume: [] }, call);
    await assert.rejects(agent.startContainer(id, call), (caught) => isKind(caught, 'not-found'));
  });

  test(`${name}: the log is complete before the exit is told`, async () => {
    await using subject = await make();
    const { agent } = await subject.hub.attach({ ...subject.vm, linkKey: 'feedfacecafebeef', resume: [] }, call);
    await agent.createContainer(createRequest(id), call);
    await agent.startContainer(id, call);
    subject.write(id, 'first');
    subject.write(id, 'second');
    subject.exit(id, 4);
    await subject.sink.until(() => subject.sink.exits.length > 0);
    assert.equal(subject.sink.content(id, 'stdout').toString(), 'first\nsecond\n');
    assert.equal(subject.sink.exits[0]?.exitCode, 4);
  });

  test(`${name}: ExecSync gives output up to the cap, and the exit code`, async () => {
    await using subject = await make();
    const { agent } = await subject.hub.attach({ ...subject.vm, linkKey: 'feedfacecafebeef', resume: [] }, call);
    await agent.createContainer(createRequest(id), call);
    const result = await agent.execSync({
      containerId: id,
      command: ['a', 'word'],
      timeoutMs: 5_000,
      maxOutputBytes: 3,
    });
    assert.deepEqual([Buffer.from(result.stdout).toString(), result.exitCode, result.timedOut], ['a w', 0, false]);
  });

  test(`${name}: what containers use is told for all at once; limits are taken`, async () => {
    await using subject = await make();
    const { agent } = await subject.hub.attach({ ...subject.vm, linkKey: 'feedfacecafebeef', resume: [] }, call);
    assert.deepEqual(await agent.stats({ details: false }, call), []);
    await agent.createContainer(createRequest(id), call);
    const [use] = await agent.stats({ details: true }, call);
    assert.deepEqual([use?.containerId, use?.cgroup?.memory?.usageBytes], [id, 1_024n]);
    await agent.updateContainer({ containerId: id, settings: [{ file: 'memory.max', value: '4096' }] }, call);
  });

  test(`${name}: a VM that was detached is unavailable; to detach it again is fine`, async () => {
    await using subject = await make();
    const { agent } = await subject.hub.attach({ ...subject.vm, linkKey: 'feedfacecafebeef', resume: [] }, call);
    await subject.hub.detach(subject.vm.id);
    await subject.hub.detach(subject.vm.id);
    await assert.rejects(agent.listContainers(call), (caught) => isKind(caught, 'unavailable'));
  });

  test(`${name}: a cancelled attach is cancelled`, async () => {
    await using subject = await make();
    const signal = AbortSignal.abort();
    await assert.rejects(
      subject.hub.attach({ ...subject.vm, linkKey: 'feedfacecafebeef', resume: [] }, { ...call, signal }),
      (caught) => isKind(caught, 'cancelled'),
    );
  });
}
