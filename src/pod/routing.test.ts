import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ErrorKind, isKind } from '../base/errors.ts';
import { NamespaceMode, PodSandboxConfig } from '../gen/cri/v1/api.ts';
import { allowAllNative } from './native-policy.ts';
import { chooseRuntime, type RoutingPolicy, untrustedAnnotation } from './routing.ts';

type Wish = 'nothing' | 'privileged' | 'network' | 'pid' | 'ipc';

function config(wish: Wish, annotations: Record<string, string> = {}): PodSandboxConfig {
  const mode = (namespace: Wish): NamespaceMode => (wish === namespace ? NamespaceMode.NODE : NamespaceMode.POD);
  const namespaceOptions = { network: mode('network'), pid: mode('pid'), ipc: mode('ipc') };
  return PodSandboxConfig.fromPartial({
    metadata: { namespace: 'shop' },
    annotations,
    linux: { securityContext: { privileged: wish === 'privileged', namespaceOptions } },
  });
}

const open: RoutingPolicy = { native: allowAllNative, nativeHandlers: ['native-crun'] };
const closed: RoutingPolicy = { native: { refusal: 'conmon is missing' }, nativeHandlers: [] };
const only = (native: object): RoutingPolicy => ({ native: { refusal: undefined, ...native }, nativeHandlers: [] });
const some = only({ namespaces: ['kube-system'] });
const listed = only({ namespaces: ['shop'] });
const accounts = only({ serviceAccounts: ['shop/exporter'], serviceAccountAnnotation: 'example.org/account' });
const unread = only({ serviceAccounts: ['shop/exporter'] });
const exporter = { 'example.org/account': 'exporter' };
const untrusted = { [untrustedAnnotation]: 'true' };

const table: readonly (readonly [
  string,
  RoutingPolicy,
  Wish,
  string,
  Record<string, string>,
  'vm' | 'native' | ErrorKind,
])[] = [
  ['a plain pod gets a VM', open, 'nothing', '', {}, 'vm'],
  ['a plain pod gets a VM where nothing runs natively', closed, 'nothing', '', {}, 'vm'],
  ['handler vm', open, 'nothing', 'vm', {}, 'vm'],
  ['handler native', open, 'nothing', 'native', {}, 'native'],
  ['handler native, not there', closed, 'nothing', 'native', {}, 'failed-precondition'],
  ['privileged', open, 'privileged', '', {}, 'native'],
  ['network of the host', open, 'network', '', {}, 'native'],
  ['processes of the host', open, 'pid', '', {}, 'native'],
  ['IPC of the host', open, 'ipc', '', {}, 'native'],
  ['privileged, not there', closed, 'privileged', '', {}, 'failed-precondition'],
  ['privileged, namespace not allowed', some, 'privileged', '', {}, 'failed-precondition'],
  ['privileged, namespace allowed', listed, 'privileged', '', {}, 'native'],
  ['privileged, service account allowed', accounts, 'privileged', '', exporter, 'native'],
  ['privileged, another account', accounts, 'privileged', '', { 'example.org/account': 'web' }, 'failed-precondition'],
  ['privileged, no account told', accounts, 'privileged', '', {}, 'failed-precondition'],
  ['privileged, an account that nobody vouches for', unread, 'privileged', '', exporter, 'failed-precondition'],
  ['another native handler', open, 'nothing', 'native-crun', {}, 'native'],
  ['another native handler, not there', closed, 'nothing', 'native-crun', {}, 'invalid-argument'],
  ['untrusted against another native handler', open, 'nothing', 'native-crun', untrusted, 'invalid-argument'],
  ['handler vm and privileged: privileged in the guest', open, 'privileged', 'vm', {}, 'vm'],
  ['handler vm against the request', open, 'network', 'vm', {}, 'invalid-argument'],
  ['unknown handler', open, 'nothing', 'runc', {}, 'invalid-argument'],
  ['unknown handler that looks like one', open, 'nothing', 'VM', {}, 'invalid-argument'],
  ['untrusted', open, 'nothing', '', untrusted, 'vm'],
  ['untrusted against the host', open, 'privileged', '', untrusted, 'invalid-argument'],
  ['untrusted against native', open, 'nothing', 'native', untrusted, 'invalid-argument'],
  ['untrusted said to be false', open, 'privileged', '', { [untrustedAnnotation]: 'false' }, 'native'],
];

for (const [words, policy, wish, handler, annotations, expected] of table) {
  test(`routing: ${words}`, () => {
    if (expected === 'vm' || expected === 'native') {
      const route = chooseRuntime(config(wish, annotations), handler, policy);
      assert.equal(route.runtime, expected);
      assert.notEqual(route.reason, '');
    } else {
      assert.throws(
        () => chooseRuntime(config(wish, annotations), handler, policy),
        (error) => isKind(error, expected),
      );
    }
  });
}

test('no annotation leads out of the VM', () => {
  const keys = [
    'runtime.frakti.alpha.kubernetes.io/OSContainer',
    'runtime.frakti.alpha.kubernetes.io/Unikernel',
    'io.kubernetes.cri-o.TrustedSandbox',
    'io.kubernetes.cri.runtime-handler',
    'io.katacontainers.config.hypervisor.path',
  ];
  for (const key of keys) {
    for (const value of ['true', 'native', 'runc']) {
      assert.equal(chooseRuntime(config('nothing', { [key]: value }), '', open).runtime, 'vm', key);
    }
  }
});

test('a refusal names the field that asked', () => {
  assert.throws(() => chooseRuntime(config('pid'), '', closed), /namespace_options\.pid is NODE.*conmon is missing/);
});
