/** What a pod's interface is, from the CNI result and what `ip` says of the namespace. Pure. */
import { HuskError } from '../base/errors.ts';
import { asInteger, asList, asMatch, asObject, asString, type JsonObject, orElse } from '../base/shape.ts';
import { addressesOf, type CniResult } from './cni/result.ts';
import type { PodInterface } from './network.ts';

/** For `ip -json -batch -`, in the pod's namespace; parseIpOutput reads the answer. */
export function ipQueries(interfaceName: string): string {
  // Without `table all` one family's routes are shown only.
  return `addr show dev ${interfaceName}\nroute show table all dev ${interfaceName}\n`;
}

/**
 * Puts together the pod's interface.
 *
 * Addresses are the result's, in its order, the first one being the pod's main address; MAC, MTU
 * and routes are the kernel's, since plugins leave much out of their results.
 *
 * @param ipOutput what `ip` printed for ipQueries: one JSON document per line and query
 * @throws HuskError `internal` when there is no interface or no address
 */
export function readPodInterface(interfaceName: string, result: CniResult, ipOutput: string): PodInterface {
  const [links, routes] = parseIpOutput(ipOutput);
  const link = links.find((each) => each['ifname'] === interfaceName);
  if (link === undefined) throw unusable(`no interface "${interfaceName}" in the namespace`);
  const kernelAddresses = asList(link['addr_info'], 'addr_info', asObject)
    .filter((each) => each['scope'] === 'global')
    .map((each) => `${asString(each['local'], 'local')}/${asInteger(each['prefixlen'], 'prefixlen')}`);
  const told = addressesOf(result, interfaceName);
  const addresses = told.length > 0 ? told : kernelAddresses;
  if (addresses.length === 0) throw unusable(`no address on interface "${interfaceName}"`);
  const main = routes.filter((route) => route['table'] === undefined && (route['type'] ?? 'unicast') === 'unicast');
  return {
    name: interfaceName,
    mac: asMatch(link['address'], 'address', /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/, 'a MAC address'),
    mtu: asInteger(link['mtu'], 'mtu'),
    addresses: addresses.map((address) => withoutSubnet(address, kernelAddresses.length === 0 ? undefined : main)),
    routes: podRoutes(main),
    dns: result.dns,
  };
}

function parseIpOutput(output: string): [links: JsonObject[], routes: JsonObject[]] {
  const documents = output
    .trim()
    .split('\n')
    .map((line): unknown => JSON.parse(line));
  return [
    asList(documents[0], 'links', asObject),
    orElse(documents[1], [], (given) => asList(given, 'routes', asObject)),
  ];
}

/**
 * A plugin can take away the route to the subnet that comes with an address (ptp does, where
 * neighbours are reached through the host only). The guest's kernel would make it again;
 * an address without a subnet keeps it from doing so.
 */
function withoutSubnet(address: string, routes: readonly JsonObject[] | undefined): string {
  const [ip = '', length = ''] = address.split('/');
  const whole = ip.includes(':') ? 128 : 32;
  if (routes === undefined || Number(length) === whole) return address;
  const connected = routes.some(
    (route) =>
      route['protocol'] === 'kernel' && route['gateway'] === undefined && covers(route['dst'], ip, Number(length)),
  );
  return connected ? address : `${ip}/${whole}`;
}

function covers(destination: unknown, ip: string, length: number): boolean {
  if (typeof destination !== 'string') return false;
  const [network = '', networkLength] = destination.split('/');
  if (network.includes(':') !== ip.includes(':') || Number(networkLength) !== length) return false;
  return prefixOf(network, length) === prefixOf(ip, length);
}

/** The first bits of an address. */
function prefixOf(ip: string, length: number): bigint {
  const bits = addressBits(ip);
  return bits >> BigInt((ip.includes(':') ? 128 : 32) - length);
}

/** An IP address as a number. */
export function addressBits(ip: string): bigint {
  if (!ip.includes(':')) return ip.split('.').reduce((bits, part) => (bits << 8n) | BigInt(part), 0n);
  // The URL parser writes any IPv6 address in hexadecimal groups, a dotted tail included.
  const [head = '', tail] = new URL(`http://[${ip}]`).hostname.slice(1, -1).split('::');
  const before = head === '' ? [] : head.split(':');
  const behind = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? [] : Array<string>(8 - before.length - behind.length).fill('0');
  return [...before, ...zeros, ...behind].reduce((bits, group) => (bits << 16n) | BigInt(`0x${group}`), 0n);
}

/** Routes that the guest must make: not those that come with an address; neighbours first, as gateways need them. */
function podRoutes(routes: readonly JsonObject[]): PodInterface['routes'] {
  const made = routes
    .filter((route) => route['protocol'] !== 'kernel' && route['protocol'] !== 'ra')
    .map((route) => {
      const gateway = orElse(route['gateway'], '', (given) => asString(given, 'gateway'));
      return { destination: asDestination(asString(route['dst'], 'dst'), gateway, route), gateway };
    });
  return [...made.filter(({ gateway }) => gateway === ''), ...made.filter(({ gateway }) => gateway !== '')];
}

function asDestination(text: string, gateway: string, route: JsonObject): string {
  if (text === 'default') {
    // Only IPv6 routes have a `pref` in what `ip` prints: the way to tell two defaults without gateway apart.
    return gateway.includes(':') || route['pref'] !== undefined ? '::/0' : '0.0.0.0/0';
  }
  if (text.includes('/')) return text;
  return `${text}/${text.includes(':') ? 128 : 32}`;
}

function unusable(found: string): HuskError {
  return new HuskError('internal', `read the pod's interface after CNI ADD: ${found}`, { stage: 'cni-add' });
}
