import { join } from 'node:path';
import { run } from '../../src/base/exec.ts';
import { type Programs, placePrograms } from '../../src/cli/programs.ts';

const repository = join(import.meta.dirname, '../..');

/** Bundles the programs if a source has changed, and puts them into a folder where every user can read them. */
export async function testPrograms(folder: string): Promise<Programs> {
  await run(process.execPath, [join(repository, 'tools/bundle.ts')], { timeoutMs: 60_000 });
  return placePrograms(join(repository, 'build/bin'), folder, process.execPath);
}
