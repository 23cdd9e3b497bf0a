/** The guest image folder: what `make guest-image` leaves. */
import { readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { HuskError } from '../../base/errors.ts';
import { asRecord } from './qmp-codec.ts';

export interface GuestImage {
  readonly digest: string;
  readonly cmdline: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly root: string;
}

/** Reads the manifest. Links in the folder's path are resolved once: a later build changes nothing here. */
export async function readGuestImage(folder: string): Promise<GuestImage> {
  try {
    const path = await realpath(folder);
    const manifest = asRecord(JSON.parse(await readFile(join(path, 'manifest.json'), 'utf8')));
    const { digest, cmdline } = { digest: manifest?.['digest'], cmdline: manifest?.['cmdline'] };
    if (typeof digest !== 'string' || typeof cmdline !== 'string') {
      throw new HuskError('data-loss', 'manifest.json lacks digest or cmdline');
    }
    const [kernel, initrd, root] = ['vmlinux', 'initrd.img', 'root.img'].map((name) => join(path, name));
    return { digest, cmdline, kernel: kernel as string, initrd: initrd as string, root: root as string };
  } catch (caught) {
    throw new HuskError('failed-precondition', `read guest image "${folder}"`, {
      cause: caught,
      hint: 'build it with make guest-image',
    });
  }
}
