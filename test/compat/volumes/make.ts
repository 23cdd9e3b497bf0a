/** Short ways to write a scenario. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { type Host, podVolume, type Scenario } from './scenario.ts';

type Part = Partial<Omit<Scenario, 'name' | 'group' | 'first'>>;

/** A scenario on a folder of the host at `v`, mounted at `v`. */
export function folder(name: string, first: string, more: Part & { readonly?: boolean } = {}): Scenario {
  const { readonly, prepare, ...rest } = more;
  return {
    name,
    group: 'hostPath folder',
    first,
    mounts: [{ at: 'v', from: 'data', ...(readonly ? { readonly } : {}) }],
    ...rest,
    prepare(host) {
      host.folderAt('data');
      prepare?.(host);
    },
  };
}

/** A scenario on a single file. */
export function file(name: string, first: string, more: Part & { readonly?: boolean } = {}): Scenario {
  const { readonly, prepare, ...rest } = more;
  return {
    name,
    group: 'single file',
    first,
    mounts: [{ at: 'f', from: 'file', ...(readonly ? { readonly } : {}) }],
    ...rest,
    prepare(host) {
      writeFileSync(host.at('file'), 'one\n');
      prepare?.(host);
    },
  };
}

/** Writes a volume as the kubelet's atomic writer does. */
export function atomic(host: Host, volume: string, stamp: string, files: Readonly<Record<string, string>>): void {
  const root = host.folderAt(volume);
  const old = execFileSync('sh', ['-c', 'readlink "$1/..data" || true', 'sh', root], { encoding: 'utf8' }).trim();
  mkdirSync(`${root}/..${stamp}`);
  for (const [path, text] of Object.entries(files)) {
    const at = `${root}/..${stamp}/${path}`;
    mkdirSync(at.slice(0, at.lastIndexOf('/')), { recursive: true });
    writeFileSync(at, text);
  }
  symlinkSync(`..${stamp}`, `${root}/..data_tmp`);
  renameSync(`${root}/..data_tmp`, `${root}/..data`);
  for (const top of new Set(Object.keys(files).map((path) => path.split('/')[0] ?? ''))) {
    execFileSync('ln', ['-sfn', `..data/${top}`, `${root}/${top}`]);
  }
  if (old !== '') rmSync(`${root}/${old}`, { recursive: true });
}

/** A scenario on a volume that the kubelet writes atomically, mounted at `c`. */
export function pushed(
  plugin: string,
  name: string,
  first: string,
  more: Part & { files?: Readonly<Record<string, string>> } = {},
): Scenario {
  const { files, prepare, ...rest } = more;
  return {
    name,
    group: plugin,
    first,
    mounts: [{ at: 'c', from: podVolume(plugin), readonly: true }],
    ...rest,
    prepare(host) {
      atomic(host, podVolume(plugin), '1', files ?? { key: 'value', other: 'two\n' });
      prepare?.(host);
    },
  };
}

/** A scenario on an emptyDir at `e`. */
export function emptyDir(name: string, first: string, more: Part & { memory?: boolean } = {}): Scenario {
  const { memory, prepare, ...rest } = more;
  return {
    name,
    group: memory ? 'emptyDir in memory' : 'emptyDir',
    first,
    mounts: [{ at: 'e', from: podVolume('empty-dir') }],
    ...rest,
    prepare(host) {
      const path = host.folderAt(podVolume('empty-dir'));
      chmodSync(path, 0o777);
      if (memory) execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=1777', 'tmpfs', path]);
      prepare?.(host);
    },
  };
}

/** A file with exactly this mode. */
export const write = (host: Host, path: string, text: string, mode = 0o644): void => {
  writeFileSync(host.at(path), text);
  chmodSync(host.at(path), mode);
};
