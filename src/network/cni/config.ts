/**
 * CNI network configurations, specification 0.3.0 to 1.1.0: text in, a checked list of plugins out. Pure.
 * https://www.cni.dev/docs/spec/#section-1-network-configuration-format
 */
import { HuskError } from '../../base/errors.ts';
import { asBoolean, asList, asMatch, asObject, asString, type JsonObject, orElse } from '../../base/shape.ts';

/** The versions spoken here, oldest first. Before 0.3.0 results had another shape and no chains. */
export const cniVersions = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof cniVersions)[number];

export interface PluginConfig {
  /** File name of the program. */
  readonly type: string;
  /** Capabilities it declares, e.g. `portMappings`. */
  readonly capabilities: ReadonlySet<string>;
  /** Its part of the configuration as it was written, unknown keys included. */
  readonly raw: JsonObject;
}

export interface NetworkConfig {
  readonly cniVersion: CniVersion;
  readonly name: string;
  readonly plugins: readonly PluginConfig[];
}

/** A plugin's `type` becomes a file name: `../` in it ran any program (CVE-2021-20206). */
const typePattern = /^[a-zA-Z0-9._-]+$/;
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const maxPlugins = 32;

/**
 * Reads a configuration list (`plugins`), or the configuration of one plugin, which counts
 * as a list of one.
 *
 * @param text the file
 * @throws HuskError `invalid-argument` that names the field
 */
export function parseNetworkConfig(text: string): NetworkConfig {
  const config = asObject(parseJson(text), 'configuration');
  const plugins = config['plugins'] === undefined ? [config] : asList(config['plugins'], 'plugins', asObject);
  if (plugins.length === 0 || plugins.length > maxPlugins) {
    throw invalid(`read "plugins": found ${plugins.length} plugins, wanted 1 to ${maxPlugins}`);
  }
  return {
    cniVersion: chooseVersion(config),
    name: asMatch(config['name'], 'name', namePattern, 'letters, digits, "_", "." and "-"'),
    plugins: plugins.map((plugin, index) => parsePlugin(plugin, `plugins[${index}]`)),
  };
}

function parsePlugin(plugin: JsonObject, where: string): PluginConfig {
  const type = asMatch(plugin['type'], `${where}.type`, typePattern, 'letters, digits, "_", "." and "-"');
  if (type === '.' || type === '..') throw invalid(`read "${where}.type": found "${type}", wanted a file name`);
  return { type, capabilities: declared(plugin['capabilities'], where), raw: plugin };
}

function declared(value: unknown, where: string): Set<string> {
  const entries = Object.entries(orElse(value, {}, (given) => asObject(given, `${where}.capabilities`)));
  return new Set(entries.filter(([key, on]) => asBoolean(on, `${where}.capabilities.${key}`)).map(([key]) => key));
}

/** The highest version of `cniVersions` (since 1.1.0) that is spoken here, else `cniVersion`. */
function chooseVersion(config: JsonObject): CniVersion {
  const offered = orElse(config['cniVersions'], [], (given) => asList(given, 'cniVersions', asString));
  const single = orElse(config['cniVersion'], undefined, (given) => asString(given, 'cniVersion'));
  const candidates = single === undefined ? offered : [...offered, single];
  const chosen = cniVersions.findLast((version) => candidates.includes(version));
  if (chosen !== undefined) return chosen;
  const found = candidates.length === 0 ? 'nothing' : `"${candidates.join(', ').slice(0, 80)}"`;
  throw invalid(`read "cniVersion": found ${found}, wanted ${cniVersions[0]} to ${cniVersions.at(-1)}`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (caught) {
    throw new HuskError('invalid-argument', 'read configuration: it is no JSON', { cause: caught });
  }
}

function invalid(message: string): HuskError {
  return new HuskError('invalid-argument', message);
}
