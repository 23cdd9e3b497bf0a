/** Kernel modules with their dependencies, from depmod's files. Pure. */
import { HuskError } from '../src/base/errors.ts';

/** Paths below `lib/modules/<release>/`, dependencies first. */
export type ModulePlan = readonly string[];

/**
 * Resolves module names to files with everything they need.
 *
 * @param dependencies the text of modules.dep: `path: path path ...`, nearest dependency first
 * @param builtin the text of modules.builtin: names in it are part of the kernel and skipped
 * @throws HuskError `not-found` when a name is in neither
 */
export function modulePlan(dependencies: string, builtin: string, names: readonly string[]): ModulePlan {
  const files = new Map<string, readonly string[]>();
  for (const line of dependencies.split('\n')) {
    const [path, needs] = line.split(':');
    if (path !== undefined && needs !== undefined) files.set(moduleName(path), [path, ...words(needs)]);
  }
  const inKernel = new Set(builtin.split('\n').filter(Boolean).map(moduleName));
  const plan = new Set<string>();
  for (const name of names) {
    const found = files.get(name);
    if (found === undefined && !inKernel.has(name)) {
      throw new HuskError('not-found', `find the kernel module "${name}": this kernel has none`);
    }
    for (const path of [...(found ?? [])].reverse()) plan.add(path);
  }
  return [...plan];
}

/** `kernel/drivers/char/virtio-rng.ko.xz` is the module `virtio_rng`. */
export function moduleName(path: string): string {
  const file = path.slice(path.lastIndexOf('/') + 1);
  return file.replace(/\.ko(\.xz|\.zst|\.gz)?$/, '').replaceAll('-', '_');
}

const signatureMark = Buffer.from('~Module signature appended~\n');
/** `struct module_signature` in front of the mark: eight bytes, then the signature's length, big endian. */
const signatureInfoBytes = 12;

/**
 * A module without the signature at its end. The kernel would hash each module and check an
 * RSA signature at every boot; here the root image as a whole is what is trusted, by its digest.
 */
export function withoutSignature(module: Buffer): Buffer {
  const info = module.length - signatureMark.length - signatureInfoBytes;
  if (info < 0 || !module.subarray(-signatureMark.length).equals(signatureMark)) return module;
  const length = module.readUInt32BE(info + 8);
  if (length > info)
    throw new HuskError('data-loss', `cut a module's signature: ${length} bytes, longer than the file`);
  return module.subarray(0, info - length);
}

function words(text: string): string[] {
  return text.split(' ').filter(Boolean);
}
