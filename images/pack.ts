/** From a laid-out root to the four files of a guest image. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { HuskError } from '../src/base/errors.ts';
import { run } from '../src/base/exec.ts';
import { kernelCmdline, maxImageBytes, rootUuid, sourceDateEpoch } from './contents.ts';
import { initramfs } from './cpio.ts';
import type { Kernel } from './kernel.ts';
import type { ModulePlan } from './modules.ts';
import { copyModule, plain } from './rootfs.ts';

const stage = 'guest-image-pack';

/** Names and versions that went in, for whoever asks where a byte comes from. */
export interface Provenance {
  /** Hash of all inputs; it is in the image too, and the agent reports it. */
  readonly version: string;
  readonly packages: Readonly<Record<string, string>>;
  readonly node: string;
}

/** The manifest.json of a guest image. */
export interface Manifest {
  /** SHA-256 over the manifest without this field: two images with one digest are the same. */
  readonly digest: string;
  readonly kernelRelease: string;
  readonly cmdline: string;
  readonly rootFsType: string;
  readonly files: Readonly<Record<string, { readonly sha256: string; readonly bytes: number }>>;
  readonly provenance: Provenance;
}

/** Writes the initramfs: husk-init as /init, the early modules and their order. */
export async function packInitramfs(
  target: string,
  options: { kernel: Kernel; modules: ModulePlan; init: string; work: string },
): Promise<void> {
  const { kernel, modules, work } = options;
  const files = [{ path: 'init', content: await readFile(options.init), mode: 0o755 }];
  const order: string[] = [];
  for (const [index, module] of modules.entries()) {
    const path = `${String(index).padStart(2, '0')}-${plain(module.slice(module.lastIndexOf('/') + 1))}`;
    await copyModule(join(kernel.folder, 'lib/modules', kernel.release, module), join(work, path));
    files.push({ path, content: await readFile(join(work, path)), mode: 0o644 });
    order.push(`/${path}\n`);
  }
  files.push({ path: 'modules', content: Buffer.from(order.join('')), mode: 0o644 });
  await writeFile(target, initramfs(files, sourceDateEpoch));
}

/** Writes the root file system: EROFS, owned by root, one time stamp. */
export async function packRoot(target: string, root: string): Promise<void> {
  const options = [`-T${sourceDateEpoch}`, `-U${rootUuid}`, '--all-root', '-zlz4hc', '-C16384', '--quiet'];
  await run('mkfs.erofs', [...options, target, root], { timeoutMs: 300_000, stage });
}

/**
 * Completes an image folder: vmlinux, then the manifest over all files.
 *
 * @throws HuskError `resource-exhausted` when the image is larger than it may be
 */
export async function finishImage(folder: string, kernel: Kernel, provenance: Provenance): Promise<Manifest> {
  await copyFile(kernel.vmlinux, join(folder, 'vmlinux'));
  const files: Record<string, { sha256: string; bytes: number }> = {};
  let total = 0;
  for (const name of ['initrd.img', 'root.img', 'vmlinux']) {
    const path = join(folder, name);
    const { size } = await stat(path);
    files[name] = { sha256: await sha256Of(path), bytes: size };
    total += size;
  }
  if (total > maxImageBytes) {
    throw new HuskError('resource-exhausted', `pack the guest image: ${total} bytes, at most ${maxImageBytes}`, {
      stage,
    });
  }
  const rest = { kernelRelease: kernel.release, cmdline: kernelCmdline, rootFsType: 'erofs', files, provenance };
  const digest = createHash('sha256').update(JSON.stringify(rest)).digest('hex');
  const manifest: Manifest = { digest, ...rest };
  await writeFile(join(folder, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  return manifest;
}

/** SHA-256 of a file in hex. */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
