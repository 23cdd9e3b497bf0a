/** The inputs of a guest image that are made or looked up on this machine. */
import { mkdir, readdir, realpath } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import { HuskError } from '../src/base/errors.ts';
import { run } from '../src/base/exec.ts';

const stage = 'guest-image-inputs';
/** One file for each package, with the paths that it owns. */
const dpkgInfo = '/var/lib/dpkg/info';
const cFlags = [
  '-std=gnu11',
  '-D_GNU_SOURCE',
  '-O2',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-static',
  '-s',
  '-Wl,--build-id=none',
] as const;

/** The agent and all it imports as one ES module. */
export async function bundleAgent(repository: string): Promise<Uint8Array> {
  const entry = join(repository, 'guest-agent/src/main.ts');
  const result = await build({
    entryPoints: [entry],
    absWorkingDir: repository,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node26',
    // The generated code brings a client along; the agent has a small server of its own.
    alias: { '@grpc/grpc-js': join(repository, 'guest-agent/src/grpc/no-client.ts') },
    minify: true,
    legalComments: 'none',
    write: false,
    logLevel: 'silent',
    // CommonJS packages inside an ES module ask for Node's own modules by require.
    banner: { js: "import{createRequire as __r}from'node:module';const require=__r(import.meta.url);" },
  });
  const [file] = result.outputFiles;
  if (file === undefined) throw new HuskError('internal', `bundle "${entry}": no output`, { stage });
  return file.contents;
}

/** Compiles every guest-agent/c/<name>.c, and every folder guest-agent/c/<name>, to a static program husk-<name>. */
export async function compilePrograms(repository: string, target: string): Promise<Map<string, string>> {
  await mkdir(target, { recursive: true });
  const programs = new Map<string, string>();
  const folder = join(repository, 'guest-agent/c');
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const sources = entry.isDirectory() ? await cSources(folder, entry.name) : [entry.name];
    if (!sources.every((source) => source.endsWith('.c'))) continue;
    const name = `husk-${basename(entry.name, '.c')}`;
    const path = join(target, name);
    // Relative source path: an assertion or a symbol must not carry where the tree lies.
    await run('gcc', [...cFlags, '-o', path, ...sources], { timeoutMs: 60_000, cwd: folder, stage });
    programs.set(name, path);
  }
  return programs;
}

async function cSources(folder: string, program: string): Promise<string[]> {
  const names = await readdir(join(folder, program));
  return names
    .filter((name) => name.endsWith('.c'))
    .sort()
    .map((name) => `${program}/${name}`);
}

/** Versions of the Debian packages that own the files, and of the named packages. */
export async function packageVersions(
  files: readonly string[],
  names: readonly string[],
): Promise<Record<string, string>> {
  // dpkg knows a file by the path before or after the merge of /usr: both are asked for.
  const paths = new Set<string>();
  for (const file of files) {
    const real = await realpath(file);
    for (const path of [file, real, real.replace(/^\/usr\//, '/')]) paths.add(path);
  }
  const options = { timeoutMs: 60_000, stage };
  // dpkg --search fails as a whole when one path is unknown, and one call for each takes seconds.
  const lists = await run(
    'grep',
    ['-rlxF', ...[...paths].flatMap((path) => ['-e', path]), '--include=*.list', dpkgInfo],
    options,
  );
  const owners = lists
    .split('\n')
    .filter(Boolean)
    .map((path) => basename(path, '.list').replace(/:.*$/, ''));
  const shown = [...new Set([...owners, ...names])].toSorted((a, b) => (a < b ? -1 : 1));
  const text = await run('dpkg-query', ['--show', '--showformat=${Package} ${Version}\n', ...shown], options);
  const pairs = text.split('\n').filter(Boolean);
  return Object.fromEntries(pairs.map((line) => line.split(' ', 2) as [string, string]));
}

/** The sources that decide about the image: how it is made, and our C programs. */
export async function sourceFiles(repository: string): Promise<string[]> {
  const paths: string[] = [];
  for (const [folder, suffixes] of [
    ['images', ['.ts']],
    ['guest-agent/c', ['.c', '.h']],
  ] as const) {
    for (const name of await readdir(join(repository, folder), { recursive: true })) {
      const counts = suffixes.some((suffix) => name.endsWith(suffix)) && !name.endsWith('.test.ts');
      if (counts) paths.push(join(repository, folder, name));
    }
  }
  return paths.sort();
}
