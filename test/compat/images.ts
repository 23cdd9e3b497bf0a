/** The images of the cases: busybox with users, and two with settings of their own. */
import { type BuiltImage, buildImage, busyboxTar } from '../fixtures/oci-image.ts';
import { userFiles } from './cases/users.ts';

/** The one layer of all of them. */
export function compatLayer(): Buffer {
  return busyboxTar({
    extra: [
      { name: 'etc/passwd', data: userFiles.passwd },
      { name: 'etc/group', data: userFiles.group },
      { name: 'mnt/', type: '5', mode: 0o755 },
    ],
  });
}

/** By the `image` of a case. */
export function compatImages(layer: Buffer): Record<'plain' | 'user' | 'workdir', BuiltImage> {
  const image = (config: object): BuiltImage => buildImage([{ tar: layer }], { config: { Cmd: ['sh'], ...config } });
  return { plain: image({}), user: image({ User: 'app' }), workdir: image({ WorkingDir: '/home' }) };
}
