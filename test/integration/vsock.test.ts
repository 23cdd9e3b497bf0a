/**
 * The agent's link over vsock, on the loopback inside a guest: the real relay, agent and host side. A second relay
 * listens on vsock there, and socat joins it with a port of QEMU's; a host with vhost-vsock would do that from outside.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { newContainerId } from '../../src/base/ids.ts';
import { ConfigureSandboxRequest, CreateContainerRequest } from '../../src/gen/agent/v1/agent.ts';
import { ContainerConfig } from '../../src/gen/cri/v1/api.ts';
import { buildSpec } from '../../src/oci/spec.ts';
import { AgentLink, EventLog } from '../helpers/agent-link.ts';
import { type AgentVm, bootAgentVm, busyboxLayer, type LayerFile } from '../helpers/agent-vm.ts';

const image = process.env['HUSK_GUEST_IMAGE'] ?? join(import.meta.dirname, '../../build/guest-image/current');
const relay = join(import.meta.dirname, '../../build/bin/husk-relay');
let vm: AgentVm;
let link: AgentLink;
let events: EventLog;

/** socat with its libraries. */
function socatLayer(): Record<string, LayerFile> {
  const libraries = execFileSync('ldd', ['/usr/bin/socat'], { encoding: 'utf8' }).match(/\/\S+(?= \()/g) ?? [];
  return Object.fromEntries(['/usr/bin/socat', ...libraries].map((path) => [path.slice(1), { copyOf: path }]));
}

before(async () => {
  vm = await bootAgentVm(image, [{ ...busyboxLayer, relay: { copyOf: relay } }, socatLayer()]);
  link = new AgentLink(vm.socket);
  events = new EventLog();
  await link.ready();
  const identity = {
    ...{ sandboxId: newContainerId(), entropy: randomBytes(64), hostname: 'pod', bootId: randomUUID() },
    ...{ machineId: randomBytes(16).toString('hex'), wallClockNs: BigInt(Date.now()) * 1_000_000n },
  };
  await link.call('configureSandbox', ConfigureSandboxRequest.fromPartial(identity));
  events.listen(link);
});
after(async () => {
  link?.close();
  await vm?.stop();
});

/** A container that sees the agent's socket, may use every device, and has no seccomp filter, which refuses vsock. */
async function startInGuest(shell: string): Promise<string> {
  const id = newContainerId();
  const spec = buildSpec({
    containerId: id,
    config: ContainerConfig.fromPartial({
      metadata: { name: 'c' },
      command: ['/bin/busybox', 'sh', '-c', shell],
      linux: { securityContext: { seccomp: { profileType: 1 } }, resources: {} },
    }),
    hostname: 'pod',
    image: { env: [], workingDir: '', entrypoint: [], cmd: [] },
  });
  spec.mounts.push({ type: 'bind', source: '/run/husk', destination: '/guest', options: ['bind', 'rw'] });
  spec.linux.resources.devices = [{ allow: true, access: 'rwm' }];
  const request = { containerId: id, specJson: Buffer.from(JSON.stringify(spec)), layers: [...vm.layers] };
  await link.call('createContainer', CreateContainerRequest.fromPartial({ ...request, user: { user: '' } }));
  await link.call('startContainer', { containerId: id });
  return id;
}

const listener = (port: number, peer: string): string =>
  `/relay --vsock ${port} ${peer} --agent /guest/agent.sock --sys /bin/busybox`;
const stdoutOf = (id: string): string => Buffer.concat(events.of(id).stdout).toString();

test('the agent answers over vsock, again after each cut, and no byte of one session reaches the next', async () => {
  const id = await startInGuest(
    [
      `${listener(1024, '--vsock-peer 1')} &`,
      'for p in /sys/class/virtio-ports/*; do',
      '  [ "$(cat $p/name)" = husk.test.0 ] && mknod /dev/port c $(tr : " " < $p/dev); done',
      'echo joined',
      'while :; do /usr/bin/socat /dev/port,nonblock VSOCK-CONNECT:1:1024; /bin/busybox sleep 0.1; done',
    ].join('\n'),
  );
  await events.until(() => stdoutOf(id).includes('joined'));
  for (let session = 0; session < 4; session += 1) {
    const vsock = new AgentLink(vm.testSocket);
    await vsock.ready();
    const nonce = randomBytes(64);
    assert.deepEqual((await vsock.call('hello', { nonce })).nonce, nonce);
    const { containers } = await vsock.call('listContainers', {});
    assert.deepEqual(
      containers.map(({ containerId, state }) => [containerId, state]),
      [[id, 'running']],
    );
    // Cut in the middle of what the agent sends.
    void vsock.call('listContainers', {}).catch(() => undefined);
    vsock.close();
  }
  await link.call('removeContainer', { containerId: id });
});

test('a connection that does not come from the host is closed unheard', async () => {
  const frame = `HUSK-SYNC ${'0'.repeat(32)}\\n`;
  const ask = (port: number): string => `printf '${frame}' | /usr/bin/socat -t 3 - VSOCK-CONNECT:1:${port}`;
  const id = await startInGuest(
    [`${listener(1025, '--vsock-peer 1')} & ${listener(1026, '')} &`, 'sleep 1', ask(1025), ask(1026), 'echo end'].join(
      '\n',
    ),
  );
  await events.until(() => stdoutOf(id).includes('end'));
  assert.equal(stdoutOf(id), `HUSK-ECHO ${'0'.repeat(32)}\nend\n`);
  await link.call('removeContainer', { containerId: id });
});
