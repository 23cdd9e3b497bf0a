/** Lays out the guest's root in a folder. The time stamps and owners are set when it is packed. */
import { chmod, copyFile, mkdir, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { HuskError } from '../src/base/errors.ts';
import { run } from '../src/base/exec.ts';
import { debianPrograms, folders, symlinks, textFiles } from './contents.ts';
import type { Kernel } from './kernel.ts';
import { type ModulePlan, withoutSignature } from './modules.ts';

const stage = 'guest-image-root';

/** What goes into the root beside the fixed files of contents.ts. */
export interface RootInputs {
  readonly kernel: Kernel;
  /** All modules of the root, and of them those that PID 1 loads. */
  readonly modules: ModulePlan;
  readonly modulesToLoad: ModulePlan;
  /** Our static programs: name in /usr/lib/husk, path on this machine. */
  readonly programs: ReadonlyMap<string, string>;
  readonly node: string;
  /** The bundled agent's text. */
  readonly agent: Uint8Array;
  /** What the agent reports as the version of its image. */
  readonly version: string;
  /** Shared libraries: path on this machine. */
  readonly libraries: readonly string[];
}

/** Fills an empty folder with the guest's root. */
export async function layOutRoot(root: string, inputs: RootInputs): Promise<void> {
  for (const folder of folders) await mkdir(join(root, folder), { recursive: true });
  for (const folder of ['lib', 'lib64', 'lib/husk']) await mkdir(join(root, 'usr', folder), { recursive: true });
  for (const [path, target] of Object.entries(symlinks)) await link(join(root, path), target);
  for (const [path, text] of Object.entries(textFiles)) await put(join(root, path), text, 0o644);
  for (const { from, to } of debianPrograms) await copy(from, join(root, to), 0o755);
  for (const [name, path] of inputs.programs) await copy(path, join(root, 'usr/lib/husk', name), 0o755);
  await copy(inputs.node, join(root, 'usr/lib/husk/node'), 0o755);
  await run('strip', ['--strip-all', join(root, 'usr/lib/husk/node')], { timeoutMs: 60_000, stage });
  await put(join(root, 'usr/lib/husk/agent.mjs'), inputs.agent, 0o644);
  await put(join(root, 'usr/lib/husk/image'), `${inputs.version}\n`, 0o644);
  await putLibraries(root, inputs.libraries);
  await putApplets(root);
  await putModules(root, inputs);
}

/** Copies each library to where the loader looks for it. */
async function putLibraries(root: string, libraries: readonly string[]): Promise<void> {
  for (const path of libraries) {
    const folder = path.startsWith('/lib64/') ? 'usr/lib64' : 'usr/lib/x86_64-linux-gnu';
    await copy(await realpath(path), join(root, folder, basename(path)), 0o755);
  }
}

async function putApplets(root: string): Promise<void> {
  const list = await run('/bin/busybox', ['--list-full'], { timeoutMs: 10_000, stage });
  for (const path of list.split('\n').filter(Boolean)) {
    const folder = /(^|\/)sbin\//.test(path) ? 'usr/sbin' : 'usr/bin';
    const name = basename(path);
    if (name !== 'busybox' && name !== 'linuxrc') await link(join(root, folder, name), '/usr/bin/busybox');
  }
}

async function putModules(root: string, inputs: RootInputs): Promise<void> {
  const { kernel } = inputs;
  const below = join('lib/modules', kernel.release);
  for (const path of inputs.modules)
    await copyModule(join(kernel.folder, below, path), join(root, 'usr', below, plain(path)));
  for (const name of ['modules.order', 'modules.builtin', 'modules.builtin.modinfo']) {
    await copy(join(kernel.folder, below, name), join(root, 'usr', below, name), 0o644);
  }
  await run('depmod', ['-b', join(root, 'usr'), kernel.release], { timeoutMs: 60_000, stage });
  const toLoad = inputs.modulesToLoad.map((path) => `/${join(below, plain(path))}\n`);
  await put(join(root, 'usr/lib/husk/modules'), toLoad.join(''), 0o644);
}

/** Copies a module, unpacked and unsigned: under emulation the guest would spend its start on xz and RSA. */
export async function copyModule(from: string, to: string): Promise<void> {
  await copy(from, from.endsWith('.xz') ? `${to}.xz` : to, 0o644);
  if (from.endsWith('.xz')) await run('xz', ['--decompress', `${to}.xz`], { timeoutMs: 60_000, stage });
  await writeFile(to, withoutSignature(await readFile(to)));
}

/** A module's path without the suffix of its compression. */
export function plain(path: string): string {
  return path.replace(/\.(xz|zst|gz)$/, '');
}

/**
 * The shared libraries that the programs need, on this machine, the loader included.
 *
 * @throws HuskError `not-found` when one is missing
 */
export async function librariesOf(programs: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  for (const program of programs) {
    const text = await run('ldd', [program], { timeoutMs: 10_000, stage }).catch(() => '');
    if (text.includes('not found')) {
      throw new HuskError('not-found', `find the libraries of "${program}": ${text.trim()}`, { stage });
    }
    for (const match of text.matchAll(/(?:=> |^\s+)(\/\S+)/gm)) if (match[1] !== undefined) found.add(match[1]);
  }
  return [...found].sort();
}

async function copy(from: string, to: string, mode: number): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await copyFile(from, to);
  await chmod(to, mode);
}

async function put(path: string, content: string | Uint8Array, mode: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content, { mode });
  await chmod(path, mode);
}

async function link(path: string, target: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await rm(path, { force: true });
  await symlink(target, path);
}
