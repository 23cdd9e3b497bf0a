/** Debian's kernel package: fetched, unpacked, vmlinux taken out, modules picked with what they need. */
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { HuskError } from '../src/base/errors.ts';
import { run } from '../src/base/exec.ts';
import { type ModulePlan, modulePlan } from './modules.ts';

const stage = 'guest-image-kernel';

/** A kernel package in the version that apt would install. */
export interface KernelPackage {
  readonly name: string;
  readonly version: string;
}

/** An unpacked kernel: its release, the folder that holds `boot/` and `lib/modules/`, and vmlinux. */
export interface Kernel {
  readonly release: string;
  readonly folder: string;
  readonly vmlinux: string;
}

/**
 * Follows a kernel meta package to the package that it depends on.
 *
 * @throws HuskError `not-found` when apt knows no such package even after an update of its lists
 */
export async function findKernelPackage(meta: string): Promise<KernelPackage> {
  const found = parseDepends(await showPackage(meta));
  if (found !== undefined) return found;
  await run('apt-get', ['-qq', 'update'], { timeoutMs: 300_000, stage });
  const again = parseDepends(await showPackage(meta));
  if (again !== undefined) return again;
  throw new HuskError('not-found', `look up the Debian package "${meta}": apt knows none with a kernel`, { stage });
}

async function showPackage(meta: string): Promise<string> {
  return run('apt-cache', ['show', '--no-all-versions', meta], { timeoutMs: 60_000, stage }).catch(() => '');
}

/** The first dependency with an exact version: `Depends: linux-image-6.1.0-1-amd64 (= 6.1.1-1)`. */
export function parseDepends(control: string): KernelPackage | undefined {
  const match = /^Depends: (linux-image-\S+) \(= ([^)\s]+)\)/m.exec(control);
  const [, name, version] = match ?? [];
  return name === undefined || version === undefined ? undefined : { name, version };
}

/** Downloads and unpacks the package into the cache folder, once. */
export async function unpackKernel(kernel: KernelPackage, cacheFolder: string): Promise<Kernel> {
  const folder = join(cacheFolder, `${kernel.name}_${kernel.version.replaceAll(':', '%')}`);
  if (!(await exists(join(folder, 'vmlinux')))) {
    const work = `${folder}.${process.pid}.tmp`;
    await rm(work, { recursive: true, force: true });
    await mkdir(work, { recursive: true });
    const download = ['-qq', '-o', 'APT::Sandbox::User=root', 'download', `${kernel.name}=${kernel.version}`];
    await run('apt-get', download, { timeoutMs: 600_000, cwd: work, stage });
    const deb = (await readdir(work)).find((name) => name.endsWith('.deb'));
    if (deb === undefined) throw new HuskError('not-found', `download "${kernel.name}": apt left no .deb`, { stage });
    await run('dpkg-deb', ['-x', join(work, deb), work], { timeoutMs: 120_000, stage });
    await rm(join(work, deb));
    await extractVmlinux(work, await releaseIn(work));
    await rm(folder, { recursive: true, force: true });
    await rename(work, folder);
  }
  return { folder, release: await releaseIn(folder), vmlinux: join(folder, 'vmlinux') };
}

async function releaseIn(folder: string): Promise<string> {
  const [release] = await readdir(join(folder, 'lib/modules'));
  if (release === undefined) throw new HuskError('not-found', `read "${folder}": it has no modules`, { stage });
  return release;
}

/** Which modules go where: with their dependencies, in an order in which they load. */
export async function planModules(
  kernel: Kernel,
  early: readonly string[],
  late: readonly string[],
): Promise<{ early: ModulePlan; late: ModulePlan }> {
  await run('depmod', ['-b', kernel.folder, kernel.release], { timeoutMs: 120_000, stage });
  const read = (name: string): Promise<string> =>
    readFile(join(kernel.folder, 'lib/modules', kernel.release, name), 'utf8');
  const [dependencies, builtin] = [await read('modules.dep'), await read('modules.builtin')];
  return { early: modulePlan(dependencies, builtin, early), late: modulePlan(dependencies, builtin, late) };
}

/**
 * Takes the ELF kernel out of a bzImage: QEMU's PVH loader wants it bare, and the guest need
 * not unpack itself under emulation. Layout: Documentation/arch/x86/boot.rst, fields
 * setup_sects (0x1f1), payload_offset (0x248), payload_length (0x24c); the payload's last four
 * bytes are the unpacked size.
 */
async function extractVmlinux(folder: string, release: string): Promise<void> {
  const image = await readFile(join(folder, 'boot', `vmlinuz-${release}`));
  const payload = payloadOf(image);
  const packed = payload.subarray(0, -4);
  const wanted = payload.readUInt32LE(payload.length - 4);
  const target = join(folder, 'vmlinux');
  if (packed.readUInt32LE(0) === 0xfd2fb528) {
    await writeFile(target, zstdDecompressSync(packed));
  } else {
    await writeFile(`${target}.xz`, packed);
    await run('xz', ['--decompress', '--single-stream', `${target}.xz`], { timeoutMs: 120_000, stage });
  }
  const { size } = await stat(target);
  if (size !== wanted) {
    throw new HuskError('data-loss', `unpack the kernel "${release}": got ${size} bytes, wanted ${wanted}`, { stage });
  }
}

/** The compressed kernel inside a bzImage, its trailing size field included. */
export function payloadOf(image: Buffer): Buffer {
  if (image.length < 0x250 || image.toString('latin1', 0x202, 0x206) !== 'HdrS') {
    throw new HuskError('data-loss', 'read the kernel: no boot header "HdrS", not a bzImage', { stage });
  }
  const setupSectors = image.readUInt8(0x1f1) || 4;
  const start = (setupSectors + 1) * 512 + image.readUInt32LE(0x248);
  return image.subarray(start, start + image.readUInt32LE(0x24c));
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
