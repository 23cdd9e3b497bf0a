/** Rules for CRI's PodSandboxConfig. */
import { isIP } from 'node:net';
import { HuskError } from '../../base/errors.ts';
import {
  type DNSConfig,
  type LinuxPodSandboxConfig,
  type LinuxSandboxSecurityContext,
  NamespaceMode,
  type PodSandboxConfig,
  type PodSandboxMetadata,
  type PortMapping,
  Protocol,
} from '../../gen/cri/v1/api.ts';
import { absolutePath, annotations, each, labels, member, range, refuse, text } from './check.ts';
import { limits } from './limits.ts';
import { checkResources } from './resources.ts';
import { checkIdentity, checkNamespaces, checkProfiles } from './security.ts';
import { checkSysctls } from './sysctls.ts';

// CNI plugins get these in one variable, divided by ";" and "=": neither may be in them.
const name = {
  max: limits.nameChars,
  pattern: /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/,
  wanted: 'letters, digits, ".", "_" and "-", a letter or digit at both ends',
};
const hostname = { ...name, max: limits.hostnameChars, optional: true };
const search = { max: limits.dnsChars, pattern: /^[A-Za-z0-9_.-]+$/, wanted: 'a domain' };
const dnsOption = { max: limits.dnsChars, pattern: /^[A-Za-z0-9_.:-]+$/, wanted: 'an option such as "ndots:5"' };
const cgroup = { max: limits.pathChars, pattern: /^[A-Za-z0-9/_.:@\\-]+$/, wanted: 'a cgroup', optional: true };

/**
 * A pod's config, complete and within bounds.
 *
 * @throws HuskError `invalid-argument`, naming the field and its value
 */
export function checkSandboxConfig(config: PodSandboxConfig | undefined): PodSandboxConfig {
  if (config === undefined) throw new HuskError('invalid-argument', 'config: missing');
  checkMetadata(config.metadata);
  text('config.hostname', config.hostname, hostname);
  absolutePath('config.log_directory', config.logDirectory, { optional: true });
  checkDns(config.dnsConfig);
  each('config.port_mappings', config.portMappings, limits.portMappings, checkPortMapping);
  labels('config.labels', config.labels);
  annotations('config.annotations', config.annotations);
  checkLinux(config.linux);
  if (config.windows !== undefined) throw new HuskError('invalid-argument', 'config.windows: this node runs Linux');
  return config;
}

function checkMetadata(metadata: PodSandboxMetadata | undefined): void {
  if (metadata === undefined) throw new HuskError('invalid-argument', 'config.metadata: missing');
  text('config.metadata.name', metadata.name, name);
  text('config.metadata.namespace', metadata.namespace, name);
  text('config.metadata.uid', metadata.uid, name);
}

function checkDns(dns: DNSConfig | undefined): void {
  if (dns === undefined) return;
  each('config.dns_config.servers', dns.servers, limits.dnsEntries, checkIp);
  each('config.dns_config.searches', dns.searches, limits.dnsEntries, (at, value) => text(at, value, search));
  each('config.dns_config.options', dns.options, limits.dnsEntries, (at, value) => text(at, value, dnsOption));
}

function checkIp(path: string, value: string): void {
  text(path, value, { max: limits.dnsChars });
  if (isIP(value) === 0) refuse(path, value, 'wanted an IP address');
}

function checkPortMapping(path: string, mapping: PortMapping): void {
  member(`${path}.protocol`, mapping.protocol, Protocol);
  range(`${path}.container_port`, mapping.containerPort, 1, 65_535);
  range(`${path}.host_port`, mapping.hostPort, 0, 65_535);
  if (mapping.hostIp !== '') checkIp(`${path}.host_ip`, mapping.hostIp);
}

function checkLinux(linux: LinuxPodSandboxConfig | undefined): void {
  if (linux === undefined) return;
  const options = linux.securityContext?.namespaceOptions;
  text('config.linux.cgroup_parent', linux.cgroupParent, cgroup);
  if (linux.cgroupParent.split('/').includes('..'))
    refuse('config.linux.cgroup_parent', linux.cgroupParent, 'holds ".."');
  checkSecurity('config.linux.security_context', linux.securityContext);
  checkSysctls('config.linux.sysctls', linux.sysctls, options);
  checkResources('config.linux.overhead', linux.overhead);
  checkResources('config.linux.resources', linux.resources);
}

function checkSecurity(path: string, context: LinuxSandboxSecurityContext | undefined): void {
  if (context === undefined) return;
  checkNamespaces(`${path}.namespace_options`, context.namespaceOptions);
  if (context.namespaceOptions?.pid === NamespaceMode.TARGET) {
    refuse(`${path}.namespace_options.pid`, 'TARGET', 'a pod has no other container to share with');
  }
  checkIdentity(path, context);
  checkProfiles(path, context);
}
