import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allowAllNative } from '../pod/native-policy.ts';
import { explain, explainText } from './explain.ts';

const policy = { native: allowAllNative, nativeHandlers: ['native-crun'] };
const pod = (spec: string, metadata = ''): string =>
  `apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n${metadata}spec:\n  containers: [{name: a, image: b}]\n${spec}`;

test('a plain pod gets a VM, and nothing decided against it', () => {
  const [plain] = explain(pod(''), policy);
  assert.deepEqual([plain?.pod, plain?.runtime, plain?.decidedBy], ['default/web', 'vm', []]);
  assert.match(explainText(explain(pod(''), policy)), /default\/web: vm\n.*why: .*\n.*nothing in the manifest/);
});

test('what asks for the host is named as the manifest has it', () => {
  const [explained] = explain(
    `kind: Pod\nmetadata: {name: n, namespace: kube-system}\nspec:\n  hostNetwork: true\n  hostPID: true\n  containers:\n  - {name: a}\n  - {name: b, securityContext: {privileged: true}}\n`,
    policy,
  );
  assert.equal(explained?.runtime, 'native');
  assert.deepEqual(explained?.decidedBy, [
    'spec.hostNetwork',
    'spec.hostPID',
    'spec.containers[1].securityContext.privileged',
  ]);
  assert.match(explained?.reason ?? '', /privileged is true and .*network is NODE and .*pid is NODE/);
});

test('templates of workloads, RuntimeClasses and lists are understood', () => {
  const manifest = `
kind: RuntimeClass
metadata: {name: fast}
handler: native-crun
---
kind: DaemonSet
metadata: {name: agent, namespace: mon}
spec: {template: {spec: {runtimeClassName: fast, containers: []}}}
---
kind: List
items:
- {kind: CronJob, metadata: {name: j}, spec: {jobTemplate: {spec: {template: {spec: {hostIPC: true, containers: []}}}}}}
- {kind: Service, metadata: {name: s}}
`;
  const [agent, job, ...more] = explain(manifest, policy);
  assert.deepEqual([agent?.pod, agent?.runtime, agent?.handler], ['mon/agent', 'native', 'native-crun']);
  assert.deepEqual(
    [job?.pod, job?.runtime, job?.decidedBy],
    ['default/j', 'native', ['spec.jobTemplate.spec.template.spec.hostIPC']],
  );
  assert.deepEqual(more, []);
});

test('a refusal is an explanation too', () => {
  const [vm] = explain(pod('  hostNetwork: true\n  runtimeClassName: vm\n'), policy);
  assert.equal(vm?.runtime, undefined);
  assert.match(vm?.reason ?? '', /runtime_handler "vm" asks for a virtual machine/);
  const [closed] = explain(pod('  hostNetwork: true\n'), { native: { refusal: 'no conmon' }, nativeHandlers: [] });
  assert.match(explainText(closed === undefined ? [] : [closed]), /refused\n.*no conmon/);
});

test('the untrusted annotation is named', () => {
  const [untrusted] = explain(pod('', '  annotations: {"io.kubernetes.cri.untrusted-workload": "true"}\n'), policy);
  assert.equal(untrusted?.runtime, 'vm');
  assert.match(untrusted?.decidedBy[0] ?? '', /untrusted-workload/);
});

for (const [words, manifest] of [
  ['no YAML', 'a: [b'],
  ['no object', '- just\n- words\n'],
  ['no pod', 'kind: Service\nmetadata: {name: x}\n'],
  ['a flag that is none', pod('  hostNetwork: "yes"\n')],
  [
    'an alias bomb',
    `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [${'*a,'.repeat(9)}]\nc: &c [${'*b,'.repeat(9)}]\nd: [${'*c,'.repeat(9)}]\n`,
  ],
] as const) {
  test(`${words} is refused`, () => {
    assert.throws(() => explain(manifest, policy), { kind: 'invalid-argument' });
  });
}
