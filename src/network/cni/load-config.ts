import { access, constants, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, HuskError, isErrno } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { type NetworkConfig, parseNetworkConfig } from './config.ts';

export interface ConfigFolders {
  /** `--cni-net-dir`. */
  readonly configFolder: string;
  /** `--cni-plugin-dir`, searched in this order. */
  readonly pluginFolders: readonly string[];
}

interface Cached {
  /** Changes when any candidate does. */
  readonly stamp: string;
  readonly network: NetworkConfig | HuskError;
  readonly file: string;
}

const extensions = ['.conflist', '.conf', '.json'];
const maxFileBytes = 1024 * 1024;

/** A network configuration that is ready for use. */
export interface LoadedNetwork {
  readonly network: NetworkConfig;
  /** The file it came from. */
  readonly file: string;
}

/** Finds the configuration in force. Files are read again only when they changed. */
export class ConfigLoader {
  readonly #folders: ConfigFolders;
  readonly #log: Log;
  #cached: Cached | undefined;

  constructor(folders: ConfigFolders, log: Log) {
    this.#folders = folders;
    this.#log = log;
  }

  /**
   * The first valid configuration by file name, with every plugin's program found.
   *
   * @throws HuskError `failed-precondition` that says what is missing and where
   */
  async load(): Promise<LoadedNetwork> {
    const { network, file } = await this.#current();
    if (network instanceof HuskError) throw network;
    for (const { type } of network.plugins) await this.findProgram(type);
    return { network, file };
  }

  /** As load, whether or not the plugins are there. */
  async configured(): Promise<NetworkConfig> {
    const { network } = await this.#current();
    if (network instanceof HuskError) throw network;
    return network;
  }

  /** The path of a plugin's program. @throws HuskError `failed-precondition` */
  async findProgram(type: string): Promise<string> {
    for (const folder of this.#folders.pluginFolders) {
      const path = join(folder, type);
      const usable = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (usable && (await stat(path)).isFile()) return path;
    }
    throw notReady(`find CNI plugin "${type}": it is not in "${this.#folders.pluginFolders.join('", "')}"`);
  }

  async #current(): Promise<Cached> {
    const files = await this.#candidates();
    const stamp = JSON.stringify(files);
    if (this.#cached?.stamp === stamp) return this.#cached;
    this.#cached = { stamp, ...(await this.#firstValid(files.map(({ path }) => path))) };
    return this.#cached;
  }

  /** The candidates in order, each with what changes when it is written. */
  async #candidates(): Promise<{ path: string; stamp: string }[]> {
    let names: string[] = [];
    try {
      names = await readdir(this.#folders.configFolder);
    } catch (caught) {
      if (!isErrno(caught, 'ENOENT')) throw HuskError.from(caught, 'cni-config');
    }
    const found: { path: string; stamp: string }[] = [];
    for (const name of names.filter((each) => extensions.some((end) => each.endsWith(end))).sort()) {
      const path = join(this.#folders.configFolder, name);
      const info = await stat(path, { bigint: true }).catch(() => undefined);
      if (info?.isFile() === true)
        found.push({ path, stamp: `${info.ino} ${info.size} ${info.mtimeNs} ${info.ctimeNs}` });
    }
    return found;
  }

  async #firstValid(paths: readonly string[]): Promise<{ network: NetworkConfig | HuskError; file: string }> {
    const faults: string[] = [];
    for (const file of paths) {
      try {
        const network = parseNetworkConfig(await readBounded(file));
        this.#log.info({ file, network: network.name, cniVersion: network.cniVersion }, 'CNI configuration read');
        return { network, file };
      } catch (caught) {
        const fault = describeError(caught);
        faults.push(`${file}: ${fault}`);
        this.#log.warn({ file, fault }, 'CNI configuration is not usable');
      }
    }
    const found = faults.length === 0 ? 'found none' : faults.join('; ').slice(0, 800);
    return { network: notReady(`read a CNI configuration in "${this.#folders.configFolder}": ${found}`), file: '' };
  }
}

async function readBounded(path: string): Promise<string> {
  const { size } = await stat(path);
  if (size <= maxFileBytes) return await readFile(path, 'utf8');
  throw new HuskError('invalid-argument', `read "${path}": found ${size} bytes, wanted at most ${maxFileBytes}`);
}

function notReady(message: string): HuskError {
  return new HuskError('failed-precondition', message, {
    stage: 'cni-config',
    hint: 'install a network add-on, or check --cni-net-dir and --cni-plugin-dir',
  });
}
