/**
 * Stand-ins for the images that critest pulls, built here from Debian's programs: what each spec
 * relies on is in them, and nothing is fetched from a public registry.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, realpathSync } from 'node:fs';
import { basename } from 'node:path';
import { type BuiltImage, buildImage, busyboxTar, type Entry, type LayerSource, tarOf } from '../fixtures/oci-image.ts';
import { pushImage, type TestRegistry } from '../fixtures/registry.ts';

/** The programs of this machine that go into images. */
export interface Programs {
  /** Debian's dynamic busybox: its shell, unlike the static one's, looks for programs in the file system. */
  readonly busyboxShell: string;
  /** Debian's nginx, unpacked. */
  readonly nginx: string;
  /** Our static program of c/nonewprivs.c. */
  readonly nonewprivs: string;
}

/** The registries in whose place the local one answers. */
export const mirroredRegistries: readonly string[] = ['registry.k8s.io', 'gcr.io', 'k8s.gcr.io', 'public.ecr.aws'];

const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const staging = 'k8s-staging-cri-tools';
const e2e = 'e2e-test-images';

/** Pushes them all. */
export async function pushStandIns(registry: TestRegistry, programs: Programs): Promise<void> {
  for (const [target, image] of standIns(programs)) await pushImage(registry, target, image);
}

/** Name and tag, without the registry, to image. */
function standIns(programs: Programs): Map<string, BuiltImage> {
  const base = baseLayer(programs.busyboxShell);
  const busybox = imageOf([base], { Cmd: ['sh'] });
  const tags = testImage(base, 'tags');
  const images: [string, BuiltImage][] = [
    [`${e2e}/busybox:1.29-2`, busybox],
    // What the benchmarks of images pull.
    ['docker/library/busybox:latest', busybox],
    ['docker/library/busybox:1', busybox],
    [`${e2e}/nginx:1.14-2`, nginxImage(base, programs.nginx, 80)],
    [`${staging}/hostnet-nginx-amd64:latest`, nginxImage(base, programs.nginx, 12_003)],
    [`${e2e}/httpd:2.4.39-4`, httpdImage(base)],
    [`${e2e}/nonewprivs:1.3`, nonewprivsImage(base, programs.nonewprivs)],
    ['pause:3.9', imageOf([base], { Entrypoint: ['/bin/tail', '-f', '/dev/null'] })],
    [`${staging}/test-image-latest:latest`, testImage(base, 'latest')],
    [`${staging}/test-image-tag:test`, testImage(base, 'tag-test')],
    [`${staging}/test-image-tag:all`, testImage(base, 'tag-all')],
    ...['1', '2', '3'].map((n): [string, BuiltImage] => [`${staging}/test-image-${n}:latest`, testImage(base, n)]),
    ...['1', '2', '3'].map((n): [string, BuiltImage] => [`${staging}/test-image-tags:${n}`, tags]),
    [`${staging}/test-image-user-uid:latest`, imageOf([base], { User: '1002' })],
    [`${staging}/test-image-user-username:latest`, imageOf([base], { User: 'www-data' })],
    [`${staging}/test-image-user-uid-group:latest`, imageOf([base], { User: '1003:1004' })],
    [`${staging}/test-image-user-username-group:latest`, imageOf([base], { User: 'www-data:100' })],
    [`${staging}/test-image-predefined-group:latest`, predefinedGroupImage(base)],
  ];
  return new Map(images);
}

function imageOf(layers: readonly LayerSource[], config: object): BuiltImage {
  return buildImage(layers, { config: { Env: [path], ...config } });
}

/**
 * Debian's static busybox, with the two programs that it lacks and specs call, pgrep and ipcs, and with
 * another shell: the static one runs applets by itself, also those that a spec masked.
 */
function baseLayer(shell: string): LayerSource {
  const extra = programsWithLibraries(['/usr/bin/pgrep', '/usr/bin/ipcs'], 'usr/bin/', [shell]);
  // The whole layer is one tar, and of entries of one name the last counts.
  return { tar: busyboxTar({ extra: [...extra, { name: 'bin/sh', data: readFileSync(shell), mode: 0o755 }] }) };
}

/** An image that differs from the others by a file; it stays up when it is started as it is. */
function testImage(base: LayerSource, name: string): BuiltImage {
  return imageOf([base, { tar: tarOf([{ name: `test-${name}`, data: name }]) }], { Cmd: ['sleep', '3600'] });
}

function predefinedGroupImage(base: LayerSource): BuiltImage {
  const users = 'root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000::/home/default-user:/bin/sh\n';
  const groups = 'root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n';
  const layer = tarOf([
    { name: 'etc/passwd', data: users },
    { name: 'etc/group', data: groups },
  ]);
  return imageOf([base, { tar: layer }], { User: '1000', Cmd: ['sh'] });
}

function nonewprivsImage(base: LayerSource, program: string): BuiltImage {
  const layer = tarOf([{ name: 'nnp', data: readFileSync(program), mode: 0o4755 }]);
  return imageOf([base, { tar: layer }], { Entrypoint: ['/nnp'] });
}

/** Busybox's web server; it says its name in its log, as Apache's does. */
function httpdImage(base: LayerSource): BuiltImage {
  const layer = tarOf([
    { name: 'www/', type: '5' },
    { name: 'www/index.html', data: '<html><body>It works!</body></html>\n' },
    {
      name: 'start',
      data: '#!/bin/sh\necho "httpd: serving /www on port 80"\nexec httpd -f -p 80 -h /www\n',
      mode: 0o755,
    },
  ]);
  return imageOf([base, { tar: layer }], { Entrypoint: ['/start'] });
}

function nginxImage(base: LayerSource, program: string, port: number): BuiltImage {
  const config = [
    'user root;\nworker_processes 1;\npid /var/run/nginx.pid;\nerror_log /dev/stderr warn;',
    'events { worker_connections 64; }',
    'http {\n  access_log /dev/stdout;\n  default_type text/html;\n  client_body_temp_path /tmp/body;',
    '  proxy_temp_path /tmp/proxy;\n  fastcgi_temp_path /tmp/fastcgi;\n  uwsgi_temp_path /tmp/uwsgi;\n  scgi_temp_path /tmp/scgi;',
    `  server { listen ${port}; root /www; }\n}\n`,
  ].join('\n');
  const layer = tarOf([
    ...programsWithLibraries([program], 'usr/sbin/'),
    { name: 'etc/nginx/', type: '5' },
    { name: 'etc/nginx/nginx.conf', data: config },
    { name: 'var/log/', type: '5' },
    { name: 'var/log/nginx/', type: '5' },
    { name: 'var/lib/', type: '5' },
    { name: 'var/lib/nginx/', type: '5' },
    { name: 'www/', type: '5' },
    { name: 'www/index.html', data: '<html><body>Welcome to nginx!</body></html>\n' },
  ]);
  return imageOf([base, { tar: layer }], {
    Entrypoint: ['nginx', '-g', 'daemon off;'],
    ExposedPorts: { [`${port}/tcp`]: {} },
  });
}

/** Programs with the shared libraries and the loader that they, and others, name. */
export function programsWithLibraries(
  programs: readonly string[],
  folder: string,
  others: readonly string[] = [],
): Entry[] {
  const libraries = new Set<string>();
  for (const program of [...programs, ...others]) {
    const text = execFileSync('ldd', [program], { encoding: 'utf8' });
    for (const [, library = ''] of text.matchAll(/(?:=> |^\s+)(\/\S+)/gm)) libraries.add(library);
  }
  const place = (library: string): string => (library.startsWith('/lib64/') ? 'lib64/' : 'lib/x86_64-linux-gnu/');
  return [
    ...['usr/bin/', 'usr/sbin/', 'lib/', 'lib64/', 'lib/x86_64-linux-gnu/'].map((name) => ({ name, type: '5' })),
    ...programs.map((program) => ({ name: folder + basename(program), data: readFileSync(program), mode: 0o755 })),
    ...[...libraries].map((library) => ({
      name: place(library) + basename(library),
      data: readFileSync(realpathSync(library)),
      mode: 0o755,
    })),
  ];
}
