/** The copy of a template on disk, and the process that holds it in memory. */
import { createHash } from 'node:crypto';
import { access, type FileHandle, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../base/atomic-file.ts';
import { HuskError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { copySparse, type HeldMemory, holdMemory, openHeld, releaseHolder, sealMemory } from '../../jail/memfd.ts';
import type { ProcessIdentity } from '../../jail/process.ts';

export interface TemplateStoreOptions {
  /** Folder of the copies, one folder per key; root's, 0700. */
  readonly folder: string;
  /** Path of the memfd program. */
  readonly memfd: string;
  readonly log: Log;
}

interface TemplateRecord {
  readonly key: string;
  readonly memory: FileDigest;
  readonly state: FileDigest;
}

interface FileDigest {
  readonly sha256: string;
  readonly bytes: number;
}

/** SHA-256 and size of a file or memfd, read from its start. */
export async function digestOf(file: FileHandle): Promise<FileDigest> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(4 * 1024 * 1024);
  let bytes = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, bytes);
    if (bytesRead === 0) return { sha256: hash.digest('hex'), bytes };
    hash.update(buffer.subarray(0, bytesRead));
    bytes += bytesRead;
  }
}

/** Ends the processes that hold templates of the folder in memory, whoever started them. The copies on disk stay. */
export async function releaseHolders(folder: string): Promise<void> {
  for (const key of await readdir(folder).catch(() => [])) {
    const text = await readFile(join(folder, key, 'holder.json'), 'utf8').catch(() => undefined);
    if (text !== undefined) releaseHolder(JSON.parse(text) as ProcessIdentity);
  }
}

export class TemplateStore {
  readonly #options: TemplateStoreOptions;

  constructor(options: TemplateStoreOptions) {
    this.#options = options;
  }

  /** The template of the key: held by a process of an earlier daemon, else loaded from disk, else undefined. */
  async find(key: string, signal?: AbortSignal): Promise<HeldMemory | undefined> {
    const held = await this.#reopen(key);
    if (held !== undefined) return held;
    try {
      return await this.#load(key, signal);
    } catch (caught) {
      this.#options.log.warn({ key, err: caught }, 'template on disk refused; it will be built again');
      await this.discard(key);
      return undefined;
    }
  }

  /** The template's data disk, which a clone's is made from. It belongs to the memory: neither is of use alone. */
  disk(key: string): string {
    return join(this.#options.folder, key, 'disk');
  }

  /** Where a template's disk is to be put until it is published. */
  newDisk(key: string): string {
    return join(this.#options.folder, `${key}.disk`);
  }

  /** Takes in a template whose machine has ended, its disk at `newDisk`: seals it and publishes the copy in one step. */
  async publish(key: string, held: HeldMemory): Promise<void> {
    await sealMemory(this.#options.memfd, held);
    const folder = join(this.#options.folder, key);
    const temporary = `${folder}.tmp`;
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary, { mode: 0o700 });
    for (const name of ['memory', 'state'] as const) {
      await using file = await open(join(temporary, name), 'wx', 0o400);
      await copySparse(this.#options.memfd, held[name], file);
      await file.sync();
    }
    await rename(this.newDisk(key), join(temporary, 'disk'));
    const record: TemplateRecord = { key, memory: await digestOf(held.memory), state: await digestOf(held.state) };
    await writeFileAtomic(join(temporary, 'record.json'), JSON.stringify(record), 0o400);
    await writeFileAtomic(join(temporary, 'holder.json'), JSON.stringify(held.holder), 0o600);
    await rm(folder, { recursive: true, force: true });
    await rename(temporary, folder);
  }

  /** Forgets a template that does not work. Clones that run keep their memory. */
  async discard(key: string): Promise<void> {
    const holder = await this.#holder(key);
    if (holder !== undefined) releaseHolder(holder);
    await rm(join(this.#options.folder, key), { recursive: true, force: true });
  }

  async #holder(key: string): Promise<ProcessIdentity | undefined> {
    const text = await readFile(join(this.#options.folder, key, 'holder.json'), 'utf8').catch(() => undefined);
    return text === undefined ? undefined : (JSON.parse(text) as ProcessIdentity);
  }

  async #reopen(key: string): Promise<HeldMemory | undefined> {
    try {
      const holder = await this.#holder(key);
      await access(this.disk(key));
      const held = holder === undefined ? undefined : await openHeld(holder, 'r+');
      // Sealing what is sealed already succeeds only on memfds of ours that nobody can write.
      if (held !== undefined) await this.#checkSealed(held);
      return held;
    } catch (caught) {
      this.#options.log.debug({ key, err: caught }, 'no process holds the template');
      return undefined;
    }
  }

  async #checkSealed(held: HeldMemory): Promise<void> {
    try {
      await held.memory.write(Buffer.alloc(1), 0, 1, 0);
    } catch {
      return;
    }
    await held[Symbol.asyncDispose]();
    throw new HuskError('data-loss', 'template memory of a running process is not sealed');
  }

  async #load(key: string, signal: AbortSignal | undefined): Promise<HeldMemory | undefined> {
    const folder = join(this.#options.folder, key);
    const text = await readFile(join(folder, 'record.json'), 'utf8').catch(() => undefined);
    if (text === undefined) return undefined;
    const record = JSON.parse(text) as TemplateRecord;
    if (record.key !== key)
      throw new HuskError('data-loss', `load template "${key}": the record is of "${record.key}"`);
    await access(this.disk(key));
    const held = await holdMemory(this.#options.memfd, record.memory.bytes, signal);
    try {
      for (const name of ['memory', 'state'] as const) {
        await using file = await open(join(folder, name), 'r');
        await copySparse(this.#options.memfd, file, held[name]);
      }
      await sealMemory(this.#options.memfd, held);
      // The digest of what was sealed: nothing can change between the check and the use.
      for (const name of ['memory', 'state'] as const) {
        const found = await digestOf(held[name]);
        if (found.sha256 === record[name].sha256 && found.bytes === record[name].bytes) continue;
        throw new HuskError(
          'data-loss',
          `load template "${key}": ${name} has digest ${found.sha256}, want ${record[name].sha256}`,
        );
      }
      await writeFileAtomic(join(folder, 'holder.json'), JSON.stringify(held.holder), 0o600);
      return held;
    } catch (caught) {
      releaseHolder(held.holder);
      await held[Symbol.asyncDispose]();
      throw caught;
    }
  }
}
