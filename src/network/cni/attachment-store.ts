import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../base/atomic-file.ts';
import { HuskError, isErrno } from '../../base/errors.ts';
import { isId } from '../../base/ids.ts';
import { asObject, asOneOf, asString, type JsonObject, orElse } from '../../base/shape.ts';
import { type NetworkConfig, parseNetworkConfig } from './config.ts';
import type { Attachment } from './request.ts';

/** What ADD was called with and what came of it: DEL must be told the same, even when the configuration has changed since. */
export interface StoredAttachment {
  readonly network: NetworkConfig;
  readonly attachment: Attachment;
  /** The last plugin's result; undefined when ADD did not come to its end. */
  readonly result: JsonObject | undefined;
}

/** One file per attached pod. Files are written before the first plugin runs, and again after the last. */
export class AttachmentStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async save(stored: StoredAttachment): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const { network, attachment, result } = stored;
    const plugins = network.plugins.map(({ raw }) => raw);
    const config = { cniVersion: network.cniVersion, name: network.name, plugins };
    await writeFileAtomic(
      this.#path(attachment.sandboxId),
      JSON.stringify({ version: 1, config, attachment, result }),
      0o600,
    );
  }

  /**
   * What was saved, or undefined when there is no file.
   * @throws HuskError `data-loss` when the file cannot be understood
   */
  async load(sandboxId: string): Promise<StoredAttachment | undefined> {
    const path = this.#path(sandboxId);
    try {
      return parseStored(JSON.parse(await readFile(path, 'utf8')));
    } catch (caught) {
      if (isErrno(caught, 'ENOENT')) return undefined;
      throw new HuskError('data-loss', `read "${path}": it is damaged`, { cause: caught, stage: 'cni-cache' });
    }
  }

  async remove(sandboxId: string): Promise<void> {
    await rm(this.#path(sandboxId), { force: true });
  }

  #path(sandboxId: string): string {
    if (isId(sandboxId)) return join(this.#folder, `${sandboxId}.json`);
    throw new HuskError(
      'invalid-argument',
      `network of pod "${sandboxId.slice(0, 80)}": wanted an id of 64 hex digits`,
    );
  }
}

function parseStored(json: unknown): StoredAttachment {
  const stored = asObject(json, 'file');
  asOneOf(stored['version'], 'version', [1]);
  const attachment = asObject(stored['attachment'], 'attachment');
  return {
    network: parseNetworkConfig(JSON.stringify(stored['config'])),
    attachment: {
      sandboxId: asString(attachment['sandboxId'], 'attachment.sandboxId'),
      args: asString(attachment['args'], 'attachment.args'),
      runtimeConfig: asObject(attachment['runtimeConfig'], 'attachment.runtimeConfig'),
    },
    result: orElse(stored['result'], undefined, (given) => asObject(given, 'result')),
  };
}
