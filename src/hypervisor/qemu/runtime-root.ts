/** The folder that becomes QEMU's root: the program, its libraries and its firmware, nothing else. */
import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HuskError } from '../../base/errors.ts';
import { run } from '../../base/exec.ts';
import { qemuProgram } from './argv.ts';

export interface RuntimeRoot {
  readonly path: string;
  /** Of every file in it: a part of the template's key. */
  readonly digest: string;
  /** `7.2.22` */
  readonly version: string;
}

export interface RuntimeRootOptions {
  /** Folder that keeps runtime roots by digest; root's, 0700. */
  readonly folder: string;
  /** The host's QEMU, e.g. `/usr/bin/qemu-system-x86_64`. */
  readonly qemu: string;
  readonly signal?: AbortSignal | undefined;
}

const toolTimeoutMs = 20_000;
const loader = '/lib64/ld-linux-x86-64.so.2';
const packages = 'install qemu-system-x86; Debian has the firmware in seabios and qemu-system-data';
/** Loaded by name at run time, not linked. */
const modules = ['/usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so'];
/** Firmware of a q35 that boots by PVH; the folders are those of Debian's packages. */
const firmware = ['bios-256k.bin', 'kvmvapic.bin', 'pvh.bin', 'linuxboot_dma.bin'];
const firmwareFolders = ['/usr/share/seabios', '/usr/share/qemu'];
/** The oldest version that the commands in use were tried on. */
const versionFloor = [7, 2] as const;

/**
 * Copies what QEMU needs into a folder named by its digest, unless it is there: a package upgrade
 * then changes nothing under a running or a coming VM half-way.
 *
 * @throws HuskError `failed-precondition` for what is missing or too old
 */
export async function prepareRuntimeRoot(options: RuntimeRootOptions): Promise<RuntimeRoot> {
  const files = await filesNeeded(options);
  const hash = createHash('sha256');
  for (const [inside, outside] of files) {
    const digest = createHash('sha256')
      .update(await readFile(outside))
      .digest('hex');
    hash.update(`${inside} ${digest}\n`);
  }
  const digest = hash.digest('hex');
  const path = join(options.folder, digest);
  if (!(await exists(path))) await copyAll(files, path);
  const version = await run(options.qemu, ['--version'], { timeoutMs: toolTimeoutMs, signal: options.signal });
  return { path, digest, version: checkVersion(version) };
}

/** Reads QEMU's version. @throws HuskError `failed-precondition` below the floor */
export function checkVersion(text: string): string {
  const match = /version (\d+)\.(\d+)\.(\d+)/.exec(text);
  const [major, minor] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || major < versionFloor[0] || (major === versionFloor[0] && minor < versionFloor[1])) {
    const found = match === null ? 'no version' : match[0];
    throw new HuskError('failed-precondition', `check QEMU: found ${found}, want ${versionFloor.join('.')} or newer`);
  }
  return match.slice(1, 4).join('.');
}

/** The libraries in what the dynamic loader lists. Pure. */
export function parseLoaderList(text: string): string[] {
  const missing = /^\s*(\S+) => not found/m.exec(text);
  if (missing !== null) throw new HuskError('failed-precondition', `find QEMU's libraries: "${missing[1]}" is missing`);
  return [...text.matchAll(/ => (\/\S+) \(/g)].map((match) => match[1] as string);
}

async function filesNeeded({ qemu, signal }: RuntimeRootOptions): Promise<Map<string, string>> {
  const files = new Map<string, string>([
    [qemuProgram, await qemuFile(qemu)],
    [loader, loader],
  ]);
  const present = [];
  for (const module of modules) if (await exists(module)) present.push(module);
  for (const object of [qemu, ...present]) {
    const list = await run(loader, ['--list', object], { timeoutMs: toolTimeoutMs, signal });
    for (const library of parseLoaderList(list)) files.set(library, library);
  }
  for (const module of present) files.set(module, module);
  for (const name of firmware) {
    const found = [];
    for (const folder of firmwareFolders) if (await exists(join(folder, name))) found.push(join(folder, name));
    if (found[0] === undefined) {
      throw new HuskError(
        'failed-precondition',
        `find QEMU's firmware: "${name}" is not in ${firmwareFolders.join(' or ')}`,
        { hint: packages },
      );
    }
    files.set(`/share/${name}`, found[0]);
  }
  return new Map([...files].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

async function qemuFile(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (cause) {
    throw new HuskError('failed-precondition', `find QEMU: "${path}" cannot be read`, { cause, hint: packages });
  }
}

async function copyAll(files: ReadonlyMap<string, string>, path: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  await rm(temporary, { recursive: true, force: true });
  // Mount points of the jail.
  for (const folder of ['dev', 'fd']) await mkdir(join(temporary, folder), { recursive: true, mode: 0o755 });
  for (const [inside, outside] of files) {
    const target = join(temporary, inside);
    await mkdir(dirname(target), { recursive: true, mode: 0o755 });
    await copyFile(outside, target);
    await chmod(target, inside === qemuProgram || inside === loader ? 0o555 : 0o444);
  }
  await rename(temporary, path).catch(async (caught: unknown) => {
    await rm(temporary, { recursive: true, force: true });
    if (!(await exists(path))) throw HuskError.from(caught);
  });
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
