/**
 * CNI results, specification 0.3.0 to 1.1.0: what plugins print. Pure.
 * https://www.cni.dev/docs/spec/#section-5-result-types
 */
import { isIP } from 'node:net';
import { HuskError } from '../../base/errors.ts';
import { asInteger, asList, asObject, asString, type JsonObject, orElse } from '../../base/shape.ts';
import type { CniVersion } from './config.ts';

export interface CniResult {
  readonly interfaces: readonly CniInterface[];
  readonly ips: readonly CniIp[];
  readonly dns: CniDns;
  /** As the plugin printed it: the next plugin's `prevResult`. */
  readonly raw: JsonObject;
}

export interface CniInterface {
  readonly name: string;
  readonly mac: string;
  /** Empty for interfaces on the host. */
  readonly sandbox: string;
}

export interface CniIp {
  /** CIDR notation. */
  readonly address: string;
  readonly gateway: string;
  /** Index into `interfaces`, or undefined when the plugin does not say. */
  readonly interfaceIndex: number | undefined;
}

export interface CniDns {
  readonly nameservers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

const maxEntries = 1024;

/**
 * Reads what a plugin printed on ADD. Its text is not trusted: every field that is used is checked.
 *
 * @throws HuskError `invalid-argument` that names the field
 */
export function parseResult(text: string): CniResult {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (caught) {
    const found = text.trim() === '' ? 'nothing' : `"${text.trim().slice(0, 80)}"`;
    throw new HuskError('invalid-argument', `read CNI result: found ${found}, wanted JSON`, { cause: caught });
  }
  return readResult(json);
}

/** As parseResult, from JSON that is parsed already. */
export function readResult(json: unknown): CniResult {
  const raw = asObject(json, 'result');
  const interfaces = asEntries(raw['interfaces'], 'interfaces', parseInterface);
  const ips = asEntries(raw['ips'], 'ips', parseIp);
  for (const { interfaceIndex } of ips) {
    if (interfaceIndex === undefined || interfaceIndex < interfaces.length) continue;
    throw new HuskError(
      'invalid-argument',
      `read "ips.interface": found ${interfaceIndex}, wanted less than ${interfaces.length}`,
    );
  }
  return { interfaces, ips, dns: orElse(raw['dns'], noDns, parseDns), raw };
}

/** The addresses of the result that belong to the pod's interface. */
export function addressesOf(result: CniResult, interfaceName: string): string[] {
  return result.ips
    .filter(({ interfaceIndex }) => {
      if (interfaceIndex === undefined) return true;
      const found = result.interfaces[interfaceIndex];
      return found === undefined || (found.name === interfaceName && found.sandbox !== '');
    })
    .map(({ address }) => address);
}

/**
 * The result as `prevResult` of a plugin that is called in `version`. A plugin prints in the
 * version it was called in; one that does not is translated: until 0.4.0 each address
 * carried its family in `version`, since 1.0.0 it does not.
 */
export function asPrevResult(raw: JsonObject, version: CniVersion): JsonObject {
  if (raw['cniVersion'] === version) return raw;
  const ips = orElse(raw['ips'], undefined, (given) =>
    asList(given, 'ips', (each, where) => {
      const { version: _family, ...rest } = asObject(each, where);
      if (!version.startsWith('0.')) return rest;
      return { version: String(rest['address']).includes(':') ? '6' : '4', ...rest };
    }),
  );
  return { ...raw, cniVersion: version, ...(ips === undefined ? {} : { ips }) };
}

const noDns: CniDns = { nameservers: [], searches: [], options: [] };

function asEntries<T>(value: unknown, where: string, item: (value: unknown, where: string) => T): T[] {
  const entries = orElse(value, [], (given) => asList(given, where, item));
  if (entries.length <= maxEntries) return entries;
  throw new HuskError(
    'invalid-argument',
    `read "${where}": found ${entries.length} entries, wanted at most ${maxEntries}`,
  );
}

function parseInterface(value: unknown, where: string): CniInterface {
  const entry = asObject(value, where);
  const text = (key: string): string => orElse(entry[key], '', (given) => asString(given, `${where}.${key}`));
  return { name: asString(entry['name'], `${where}.name`), mac: text('mac'), sandbox: text('sandbox') };
}

function parseIp(value: unknown, where: string): CniIp {
  const entry = asObject(value, where);
  const interfaceIndex = orElse(entry['interface'], undefined, (given) => asInteger(given, `${where}.interface`));
  if (interfaceIndex !== undefined && interfaceIndex < 0) {
    throw new HuskError('invalid-argument', `read "${where}.interface": found ${interfaceIndex}, wanted 0 or more`);
  }
  return {
    address: asCidr(entry['address'], `${where}.address`),
    gateway: orElse(entry['gateway'], '', (given) => asIp(given, `${where}.gateway`)),
    interfaceIndex,
  };
}

function parseDns(value: unknown): CniDns {
  const dns = asObject(value, 'dns');
  const list = (key: string): string[] => asEntries(dns[key], `dns.${key}`, asString);
  return {
    nameservers: asEntries(dns['nameservers'], 'dns.nameservers', asIp),
    searches: list('search'),
    options: list('options'),
  };
}

/** An address with its prefix length. */
export function asCidr(value: unknown, where: string): string {
  const text = asString(value, where);
  const match = /^([0-9a-fA-F:.]+)\/(\d{1,3})$/.exec(text);
  const family = isIP(match?.[1] ?? '');
  if (family !== 0 && Number(match?.[2]) <= (family === 4 ? 32 : 128)) return text;
  throw new HuskError(
    'invalid-argument',
    `read "${where}": found "${text.slice(0, 80)}", wanted an address in CIDR notation`,
  );
}

function asIp(value: unknown, where: string): string {
  const text = asString(value, where);
  if (isIP(text) !== 0) return text;
  throw new HuskError('invalid-argument', `read "${where}": found "${text.slice(0, 80)}", wanted an IP address`);
}
