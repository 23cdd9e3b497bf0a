/** What a run needs: the suite's programs, and a registry with the stand-in images. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../src/base/exec.ts';
import { startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { unpackDebianPackage } from './debian.ts';
import { pushStandIns } from './stand-ins.ts';

const here = import.meta.dirname;
const repository = join(here, '../..');
/** Where unpacked packages are kept. */
export const cacheFolder: string = join(repository, 'build/cache/conformance');

/** Compiles what images are made of, starts a registry and fills it. */
export async function startStandInRegistry(): Promise<TestRegistry> {
  await mkdir(cacheFolder, { recursive: true });
  const nonewprivs = join(cacheFolder, 'nonewprivs');
  const flags = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-static', '-s'];
  await run('gcc', [...flags, '-o', nonewprivs, join(here, 'c/nonewprivs.c')], { timeoutMs: 60_000 });
  const nginx = join(await unpackDebianPackage('nginx', cacheFolder), 'usr/sbin/nginx');
  const busyboxShell = join(await unpackDebianPackage('busybox', cacheFolder), 'bin/busybox');
  const registry = await startRegistry();
  try {
    await pushStandIns(registry, { busyboxShell, nginx, nonewprivs });
  } catch (caught) {
    await registry.stop();
    throw caught;
  }
  return registry;
}
