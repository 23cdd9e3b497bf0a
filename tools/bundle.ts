/**
 * Bundles husk's programs into build/bin, each one file: huskd and husk, and the two that run as
 * users of their own (docs/adr/0050). Does nothing when they are newer than all they are made of.
 */
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';

const repository = join(import.meta.dirname, '..');
const target = join(repository, 'build/bin');
const stamps = join(target, 'bundles.json');
const programs = {
  huskd: 'src/cli/huskd.ts',
  husk: 'src/cli/husk.ts',
  'husk-gateway': 'src/gateway/main.ts',
  'husk-image-worker': 'src/images/worker/main.ts',
} as const;

/** Size and time of change of a file: another one means that it changed. */
async function stampOf(path: string): Promise<string> {
  return stat(join(repository, path)).then(
    ({ size, mtimeMs }) => `${size} ${mtimeMs}`,
    () => 'absent',
  );
}

async function isCurrent(): Promise<boolean> {
  const text = await readFile(stamps, 'utf8').catch(() => '{}');
  const known = Object.entries(JSON.parse(text) as Record<string, string>);
  const current = await Promise.all(known.map(async ([path, stamp]) => (await stampOf(path)) === stamp));
  return known.length > 0 && current.every(Boolean);
}

async function bundle(): Promise<void> {
  const inputs = ['tools/bundle.ts', 'package-lock.json'];
  const { metafile, outputFiles } = await build({
    entryPoints: Object.entries(programs).map(([out, path]) => ({ in: join(repository, path), out })),
    absWorkingDir: repository,
    outdir: target,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node26',
    // Stack traces keep their names and lines: nothing is made smaller.
    minify: false,
    metafile: true,
    write: false,
    logLevel: 'warning',
    // CommonJS packages inside an ES module ask for Node's own modules by require.
    banner: { js: "import{createRequire as __r}from'node:module';const require=__r(import.meta.url);" },
  });
  const known = [...inputs, ...Object.keys(metafile.inputs)];
  const outputs = programsIn(outputFiles);
  const stamped = Object.fromEntries(
    await Promise.all(known.map(async (path) => [path, await stampOf(path)] as const)),
  );
  await mkdir(target, { recursive: true });
  // Beside it, then renamed: daemons that start at the same time find one whole file.
  for (const [path, content] of [...outputs, [stamps, JSON.stringify(stamped)] as const]) {
    const fresh = `${path}.${process.pid}`;
    await writeFile(fresh, content, { mode: 0o644 });
    await rename(fresh, path);
  }
}

function programsIn(
  files: readonly { readonly path: string; readonly contents: Uint8Array }[],
): [string, Uint8Array][] {
  return files.map(({ path, contents }) => [path, contents]);
}

if (!(await isCurrent())) await bundle();
