/** Capabilities, no-new-privileges, seccomp, read-only roots, masked and read-only paths. */

import { readFileSync } from 'node:fs';
import { allCapabilities } from '../../../src/oci/capabilities.ts';
import type { OciSpec } from '../../../src/oci/runtime-spec.ts';
import { defaultSeccompProfile } from '../../../src/oci/seccomp.ts';
import { asBase, type CompatCase, type SpecChange, security } from '../case.ts';

const caps =
  (change: (before: readonly string[]) => readonly string[]): SpecChange =>
  (spec) => {
    const names = [...change(spec.process.capabilities.bounding)];
    spec.process.capabilities = { ...spec.process.capabilities, bounding: names, effective: names, permitted: names };
  };
/** A node that lacks a capability itself cannot give it: "ALL" is what the node has. */
const ofNode = allCapabilities.filter((_name, bit) => ((boundingSet() >> BigInt(bit)) & 1n) === 1n);
function boundingSet(): bigint {
  return BigInt(`0x${/^CapBnd:\s+(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`);
}
const without =
  (...names: string[]) =>
  (before: readonly string[]): string[] =>
    before.filter((name) => !names.includes(name));
const plus =
  (...names: string[]) =>
  (before: readonly string[]): string[] => [...before, ...names];
const asUser =
  (uid: number): SpecChange =>
  (spec) => {
    spec.process.user = { uid, gid: 0, additionalGids: [0] };
  };
const all =
  (...changes: SpecChange[]): SpecChange =>
  (spec) =>
    changes.forEach((change) => change(spec));
const uid = (value: number) => ({ runAsUser: { value: BigInt(value) } });
const ask = (add: string[], drop: string[] = []) => ({
  capabilities: { addCapabilities: add, dropCapabilities: drop },
});
const seccomp = (capabilities: readonly string[]) => (spec: OciSpec) => {
  spec.linux.seccomp = defaultSeccompProfile(capabilities);
};

const capability = (name: string, fields: object, reference: SpecChange): CompatCase => ({
  group: 'Capabilities',
  name,
  container: security(fields),
  reference,
});

export const capabilities: readonly CompatCase[] = [
  capability(
    'drop ALL',
    ask([], ['ALL']),
    caps(() => []),
  ),
  capability(
    'add ALL',
    ask(['ALL']),
    caps(() => ofNode),
  ),
  capability('add NET_ADMIN', ask(['NET_ADMIN']), caps(plus('CAP_NET_ADMIN'))),
  capability('add with the prefix, in small letters', ask(['cap_sys_ptrace']), caps(plus('CAP_SYS_PTRACE'))),
  capability('drop NET_RAW', ask([], ['NET_RAW']), caps(without('CAP_NET_RAW'))),
  capability(
    'drop ALL, add CHOWN',
    ask(['CHOWN'], ['ALL']),
    caps(() => ['CAP_CHOWN']),
  ),
  capability(
    'add ALL, drop MKNOD',
    ask(['ALL'], ['MKNOD']),
    caps(() => ofNode.filter((name) => name !== 'CAP_MKNOD')),
  ),
  capability('add SYS_ADMIN', ask(['SYS_ADMIN']), caps(plus('CAP_SYS_ADMIN'))),
  capability('a user who is not root', uid(1000), asUser(1000)),
  capability(
    'a user who is not root, add NET_BIND_SERVICE',
    { ...uid(1000), ...ask(['NET_BIND_SERVICE']) },
    asUser(1000),
  ),
  capability(
    'a user who is not root, drop ALL',
    { ...uid(1000), ...ask([], ['ALL']) },
    all(
      asUser(1000),
      caps(() => []),
    ),
  ),
];

const privilege = (name: string, fields: object, reference: SpecChange): CompatCase => ({
  group: 'Privileges',
  name,
  container: security(fields),
  reference,
});
const noNewPrivs: SpecChange = (spec) => {
  spec.process.noNewPrivileges = true;
};
const readonlyRoot: SpecChange = (spec) => {
  spec.root.readonly = true;
};

export const privileges: readonly CompatCase[] = [
  privilege('no new privileges', { noNewPrivs: true }, noNewPrivs),
  privilege('no new privileges, not root', { noNewPrivs: true, ...uid(1000) }, all(noNewPrivs, asUser(1000))),
  privilege('read-only root', { readonlyRootfs: true }, readonlyRoot),
  privilege('read-only root, not root', { readonlyRootfs: true, ...uid(1000) }, all(readonlyRoot, asUser(1000))),
  privilege('seccomp unconfined', { seccomp: { profileType: 1 } }, asBase),
  privilege('seccomp RuntimeDefault', { seccomp: { profileType: 0 } }, (spec) =>
    seccomp(spec.process.capabilities.bounding)(spec),
  ),
  privilege('seccomp RuntimeDefault, not root', { seccomp: { profileType: 0 }, ...uid(1000) }, (spec) => {
    seccomp(spec.process.capabilities.bounding)(spec);
    asUser(1000)(spec);
  }),
  privilege('seccomp RuntimeDefault, add SYS_ADMIN', { seccomp: { profileType: 0 }, ...ask(['SYS_ADMIN']) }, (spec) => {
    caps(plus('CAP_SYS_ADMIN'))(spec);
    seccomp(spec.process.capabilities.bounding)(spec);
  }),
];

const paths = (name: string, fields: object, reference: SpecChange): CompatCase => ({
  group: 'Paths',
  name,
  container: security(fields),
  reference,
});

export const maskedPaths: readonly CompatCase[] = [
  paths('a masked file', { maskedPaths: ['/bin/ls'] }, (spec) => {
    spec.linux.maskedPaths = ['/bin/ls'];
  }),
  paths('a masked folder', { maskedPaths: ['/home'] }, (spec) => {
    spec.linux.maskedPaths = ['/home'];
  }),
  paths('a masked path that does not exist', { maskedPaths: ['/nowhere'] }, (spec) => {
    spec.linux.maskedPaths = ['/nowhere'];
  }),
  paths('a read-only folder', { readonlyPaths: ['/etc'] }, (spec) => {
    spec.linux.readonlyPaths = ['/etc'];
  }),
  paths('a read-only /tmp', { readonlyPaths: ['/tmp'] }, (spec) => {
    spec.linux.readonlyPaths = ['/tmp'];
  }),
];
