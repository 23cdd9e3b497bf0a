import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NamespaceMode, Protocol } from '../../gen/cri/v1/api.ts';
import { type RunOptions, wishOf } from './wish.ts';

const wish = (options: RunOptions, command: string[] = []) =>
  wishOf({ id: 'run-1', image: 'busybox', command, options, environment: { SET: 'yes' } });

test('without options: a VM pod, the image’s entrypoint, nothing shared', () => {
  const { pod, container, runtimeHandler } = wish({}, ['echo', 'hi']);
  assert.equal(runtimeHandler, 'vm');
  assert.deepEqual([container.command, container.args], [[], ['echo', 'hi']]);
  assert.deepEqual([pod.portMappings, container.mounts, container.envs], [[], [], []]);
  assert.deepEqual([container.tty, container.stdin, pod.linux?.securityContext?.privileged], [false, false, false]);
});

test('an entrypoint takes the place of the image’s, with the command as its arguments', () => {
  const { container } = wish({ entrypoint: '/bin/sh' }, ['-c', 'true']);
  assert.deepEqual([container.command, container.args], [['/bin/sh'], ['-c', 'true']]);
});

test('privileged makes pod and container privileged, in a virtual machine within that', () => {
  const { pod, container, runtimeHandler } = wish({ privileged: true });
  assert.equal(runtimeHandler, 'vm');
  assert.equal(pod.linux?.securityContext?.privileged, true);
  assert.equal(container.linux?.securityContext?.privileged, true);
});

test('a network is one of those that the runtime has', () => {
  const network = (options: RunOptions) => wish(options).pod.linux?.securityContext?.namespaceOptions?.network;
  assert.deepEqual([wish({}).plugins, wish({ network: 'none' }).plugins], [true, false]);
  assert.deepEqual([network({}), network({ network: 'host', native: true })], [NamespaceMode.POD, NamespaceMode.NODE]);
  assert.throws(() => wish({ network: 'host' }), { message: /--network "host": wanted one of cni, none/ });
  assert.throws(() => wish({ network: 'none', publish: ['1:1'] }), { message: /--publish "1:1"/ });
});

test('cpu and memory become limits', () => {
  const { container } = wish({ cpu: '0.5', memory: '64m' });
  const { cpuQuota, cpuPeriod, cpuShares, memoryLimitInBytes } = container.linux?.resources ?? {};
  assert.deepEqual([cpuQuota, cpuPeriod, cpuShares, memoryLimitInBytes], [50_000n, 100_000n, 512n, 67_108_864n]);
  assert.equal(wish({ memory: '1GiB' }).container.linux?.resources?.memoryLimitInBytes, 1_073_741_824n);
});

test('ports, volumes, environment and users', () => {
  const { pod, container } = wish({
    publish: ['8080:80', '127.0.0.1:53:5353/udp', '[::1]:1:2/sctp'],
    volume: ['/data:/srv', '/etc/ssl:/ssl:ro'],
    env: ['A=b=c', 'SET', 'EMPTY='],
    user: 'app:12',
  });
  assert.deepEqual(
    pod.portMappings.map(({ hostIp, hostPort, containerPort, protocol }) => [
      hostIp,
      hostPort,
      containerPort,
      protocol,
    ]),
    [
      ['', 8080, 80, Protocol.TCP],
      ['127.0.0.1', 53, 5353, Protocol.UDP],
      ['::1', 1, 2, Protocol.SCTP],
    ],
  );
  assert.deepEqual(
    container.mounts.map((each) => [each.hostPath, each.containerPath, each.readonly]),
    [
      ['/data', '/srv', false],
      ['/etc/ssl', '/ssl', true],
    ],
  );
  assert.deepEqual(
    container.envs.map(({ key, value }) => [key, Buffer.from(value).toString()]),
    [
      ['A', 'b=c'],
      ['SET', 'yes'],
      ['EMPTY', ''],
    ],
  );
  const security = container.linux?.securityContext;
  assert.deepEqual(
    [security?.runAsUsername, security?.runAsUser, security?.runAsGroup?.value],
    ['app', undefined, 12n],
  );
  assert.equal(wish({ user: '7' }).container.linux?.securityContext?.runAsUser?.value, 7n);
});

const refused: readonly [RunOptions, RegExp][] = [
  [{ cpu: '0' }, /--cpu "0"/],
  [{ cpu: '1e3' }, /--cpu "1e3"/],
  [{ memory: '1' }, /--memory "1"/],
  [{ memory: '9x' }, /--memory "9x"/],
  [{ memory: '-1m' }, /--memory "-1m"/],
  [{ volume: ['data:/srv'] }, /--volume "data:\/srv"/],
  [{ volume: ['/a:/b:rx'] }, /--volume/],
  [{ volume: ['/a:/b:ro:z'] }, /--volume/],
  [{ publish: ['80'] }, /--publish "80"/],
  [{ publish: ['0:80'] }, /--publish "0:80"/],
  [{ publish: ['1.2.3:80:80'] }, /--publish/],
  [{ publish: ['80:80/icmp'] }, /--publish/],
  [{ env: ['=x'] }, /--env "=x"/],
  [{ env: ['UNSET'] }, /--env "UNSET"/],
  [{ user: ':5' }, /--user ":5"/],
  [{ user: 'a:b' }, /--user "a:b"/],
];
for (const [options, message] of refused) {
  test(`refused: ${JSON.stringify(options)}`, () => {
    assert.throws(() => wish(options), { kind: 'invalid-argument', message });
  });
}
