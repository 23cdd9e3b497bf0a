import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { HuskError } from '../../base/errors.ts';
import { defaultLimits, type ImageLimits } from '../limits.ts';
import { ByteReader } from './byte-reader.ts';
import { decodeHeader, encodeHeader, isZeroBlock, padding, type TarHeader } from './header.ts';
import { readPax } from './pax.ts';
import { type TransformResult, transformLayer } from './transform.ts';

type Parts = Partial<TarHeader> & { readonly data?: string };

const plain: TarHeader = {
  name: 'f',
  link: '',
  type: '0',
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: 0,
  xattrs: new Map(),
};

function entry(parts: Parts): Buffer {
  const data = Buffer.from(parts.data ?? '', 'latin1');
  const { data: _, ...header } = parts;
  return Buffer.concat([
    encodeHeader({ ...plain, size: data.length, ...header }),
    data,
    Buffer.alloc(padding(data.length)),
  ]);
}

/** A PAX header with these raw bytes. */
function pax(records: string): Buffer {
  return entry({ name: 'pax', type: 'x', data: records });
}

/** A PAX record of the right length. */
function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length += 1;
  return `${length}${rest}`;
}

const end = Buffer.alloc(1024);

async function* chunked(data: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

interface Outcome extends TransformResult {
  /** `type name mode [link] [=data] [xattrs]` of each entry, in order. */
  readonly lines: string[];
}

async function transform(
  tar: Buffer,
  options: { limits?: Partial<ImageLimits>; chunk?: number; skip?: ReadonlySet<number> } = {},
): Promise<Outcome> {
  const chunks: Buffer[] = [];
  const limits = { ...defaultLimits, ...options.limits };
  const sink = (chunk: Buffer): void => void chunks.push(Buffer.from(chunk));
  const result = await transformLayer(chunked(tar, options.chunk ?? 65_536), sink, limits, options.skip);
  return { ...result, lines: await readLines(Buffer.concat(chunks)) };
}

async function readLines(tar: Buffer): Promise<string[]> {
  const reader = new ByteReader(chunked(tar, 1 << 20));
  const lines: string[] = [];
  let extension = { xattrs: new Map<string, string>() };
  for (let block = await reader.read(512); block !== undefined && !isZeroBlock(block); block = await reader.read(512)) {
    const header = decodeHeader(block, extension);
    const data = header.size === 0 ? '' : ((await reader.read(header.size))?.toString('latin1') ?? '');
    await reader.forward(padding(header.size), () => undefined);
    if (header.type === 'x') {
      readPax(Buffer.from(data, 'latin1'), extension);
      continue;
    }
    const link = header.link === '' ? '' : ` -> ${header.link}`;
    const xattrs = [...header.xattrs]
      .map(([key, value]) => ` ${key}:${Buffer.from(value, 'latin1').toString('hex')}`)
      .join('');
    lines.push(
      `${header.type} ${header.name} ${header.mode.toString(8)}${link}${data === '' ? '' : ` =${data}`}${xattrs}`,
    );
    extension = { xattrs: new Map() };
  }
  return lines;
}

const all = (...parts: Buffer[]): Buffer => Buffer.concat([...parts, end]);

describe('a layer', () => {
  it('becomes files first, then folders, links and whiteouts, every name below "./"', async () => {
    const { lines } = await transform(
      all(
        entry({ name: './', type: '5', mode: 0o755 }),
        entry({ name: '/bin/', type: '5', mode: 0o711 }),
        entry({ name: 'bin/su', data: 'su', mode: 0o4755 }),
        entry({ name: 'bin//./link', type: '1', link: '/bin/su' }),
        entry({ name: 'bin/sh', type: '2', link: '/../../etc/passwd' }),
        entry({ name: 'pipe', type: '6' }),
        entry({ name: 'etc/.wh.gone' }),
        entry({ name: 'v7-folder/' }),
      ),
    );
    assert.deepEqual(lines, [
      '0 ./bin/su 4755 =su',
      '2 ./bin/sh 644 -> /../../etc/passwd',
      '6 ./pipe 644',
      '5 ./ 755',
      '5 ./bin/ 711',
      '5 ./v7-folder/ 644',
      '1 ./bin/link 644 -> ./bin/su',
      '3 ./etc/gone 0',
    ]);
  });

  it('marks opaque folders, also those that are deleted and made again', async () => {
    const { lines } = await transform(
      all(
        entry({ name: 'a/', type: '5', mode: 0o700 }),
        entry({ name: 'a/.wh..wh..opq' }),
        entry({ name: 'a/.wh.useless' }),
        entry({ name: '.wh.b' }),
        entry({ name: 'b/new' }),
        entry({ name: '.wh.file' }),
        entry({ name: 'file' }),
        entry({ name: '.wh..wh.plnk/', type: '5' }),
        entry({ name: '.wh..wh.plnk/12.34' }),
      ),
    );
    assert.deepEqual(lines, ['0 ./b/new 644', '0 ./file 644', '5 ./a/ 700', '5 ./b/ 755']);
  });

  it('marks them in bytes that the kernel knows', async () => {
    const chunks: Buffer[] = [];
    const tar = all(entry({ name: 'a/.wh..wh..opq' }));
    await transformLayer(chunked(tar, 512), (chunk) => void chunks.push(chunk), defaultLimits);
    assert.ok(Buffer.concat(chunks).includes(record('SCHILY.xattr.trusted.overlay.opaque', 'y')));
  });

  it('keeps capabilities byte by byte and lets nobody forge overlay attributes', async () => {
    const xattrs = new Map([
      ['security.capability', '\x01\0\0\x02\0\x20\xff'],
      ['trusted.overlay.redirect', '/etc'],
      ['trusted.overlay.opaque', 'y'],
      ['security.selinux', 'x'],
      ['system.posix_acl_access', 'x'],
    ]);
    const { lines } = await transform(all(entry({ name: 'f', xattrs })));
    assert.deepEqual(lines, ['0 ./f 644 security.capability:010000020020ff']);
  });

  it('leaves device nodes out, with the links to them', async () => {
    const { lines, droppedDevices } = await transform(
      all(
        entry({ name: 'dev/null', type: '3' }),
        entry({ name: 'x', type: '4' }),
        entry({ name: 'y', type: '1', link: 'x' }),
      ),
    );
    assert.deepEqual(lines, []);
    assert.equal(droppedDevices, 2);
  });

  it('with an entry twice asks for another run, in which the last one counts', async () => {
    const tar = all(
      entry({ name: 'a', data: '1' }),
      entry({ name: 'b' }),
      entry({ name: 'a', data: '2' }),
      entry({ name: './a', data: '3' }),
    );
    const first = await transform(tar);
    assert.deepEqual([...first.replaced], [0, 2]);
    const second = await transform(tar, { skip: first.replaced });
    assert.deepEqual(second.lines, ['0 ./b 644', '0 ./a 644 =3']);
    assert.equal(second.replaced.size, 0);
  });

  it('takes the last attributes of a folder', async () => {
    const folder = (mode: number): Buffer => entry({ name: 'd/', type: '5', mode });
    assert.deepEqual((await transform(all(folder(0o700), folder(0o755)))).lines, ['5 ./d/ 755']);
  });

  it('reads GNU long names, PAX names and numbers beyond octal', async () => {
    const long = 'n'.repeat(200);
    const { lines } = await transform(
      all(
        entry({ name: 'L', type: 'L', data: `${long}\0` }),
        entry({ name: 'short' }),
        entry({ name: `${'p/'.repeat(80)}x`, uid: 4_000_000_000 }),
        entry({ name: 'g', type: 'g', data: record('comment', 'abc') }),
      ),
    );
    assert.deepEqual(lines, [`0 ./${long} 644`, `0 ./${'p/'.repeat(80)}x 644`]);
  });

  it('may be empty, without an end mark, or followed by rubbish', async () => {
    for (const tar of [Buffer.alloc(0), end, Buffer.concat([end, Buffer.from('rubbish')])]) {
      assert.deepEqual((await transform(tar)).lines, []);
    }
    assert.deepEqual((await transform(entry({ name: 'a' }))).lines, ['0 ./a 644']);
  });

  it('reads the same in chunks of any size', async () => {
    const tar = all(
      entry({ name: 'a', data: 'x'.repeat(3000) }),
      entry({ name: 'd/', type: '5' }),
      entry({ name: 'l'.repeat(150) }),
    );
    const wanted = (await transform(tar)).lines;
    for (const chunk of [1, 7, 511, 512, 513, 4096]) assert.deepEqual((await transform(tar, { chunk })).lines, wanted);
  });
});

const broken = entry({ name: 'x' });
broken[0] = 0x79;
const badSize = entry({ name: 'x' });
badSize.write('-0000000001', 124, 'latin1');
const negative = entry({ name: 'x' });
negative.fill(0xff, 124, 136);

/** Headers again with a right checksum. */
function resum(block: Buffer): Buffer {
  block.fill(0x20, 148, 156);
  const sum = block.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

describe('a hostile layer is refused', () => {
  for (const [name, tar] of [
    ['climbs with ".."', entry({ name: '../etc/passwd' })],
    ['climbs in the middle', entry({ name: 'a/../../x' })],
    ['climbs behind a slash', entry({ name: '/../x' })],
    ['climbs as a folder', entry({ name: '..', type: '5' })],
    ['climbs by PAX', all(pax(record('path', '../etc/abc')), entry({}))],
    ['climbs by a GNU name', all(entry({ name: 'L', type: 'L', data: '../x' }), entry({}))],
    ['climbs by a whiteout', entry({ name: 'a/.wh...' })],
    ['climbs by a whiteout of a climb', entry({ name: '../.wh.x' })],
    ['whites out nothing', entry({ name: '.wh.' })],
    ['whites out itself', entry({ name: '.wh..' })],
    ['hides in a whiteout', entry({ name: '.wh.x/y' })],
    ['links outside', entry({ name: 'l', type: '1', link: '../../etc/shadow' })],
    ['links to an absolute file that is not in the layer', entry({ name: 'l', type: '1', link: '/etc/shadow' })],
    ['links to itself', entry({ name: 'l', type: '1', link: 'l' })],
    ['links to nothing', entry({ name: 'l', type: '1' })],
    ['links to what comes later', all(entry({ name: 'l', type: '1', link: 'b' }), entry({ name: 'b' }))],
    ['links to a folder', all(entry({ name: 'd/', type: '5' }), entry({ name: 'l', type: '1', link: 'd' }))],
    [
      'replaces what was linked',
      all(entry({ name: 'a' }), entry({ name: 'l', type: '1', link: 'a' }), entry({ name: 'a' })),
    ],
    ['uses a file as a folder', all(entry({ name: 'a' }), entry({ name: 'a/b' }))],
    [
      'uses a symbolic link as a folder',
      all(entry({ name: 'a', type: '2', link: '/etc' }), entry({ name: 'a/passwd' })),
    ],
    [
      'makes a folder of a symbolic link',
      all(entry({ name: 'a', type: '2', link: '/etc' }), entry({ name: 'a/', type: '5' })),
    ],
    ['makes a file of a folder', all(entry({ name: 'a/b' }), entry({ name: 'a' }))],
    ['whites out below a file', all(entry({ name: 'a' }), entry({ name: 'a/.wh.b' }))],
    ['is opaque in a file', all(entry({ name: 'a' }), entry({ name: 'a/.wh..wh..opq' }))],
    ['puts a file at the root', entry({ name: './', type: '2', link: 'x' })],
    ['has an empty name', entry({ name: '' })],
    ['has an empty symbolic link', entry({ name: 's', type: '2' })],
    ['has a symbolic link too long', all(pax(record('linkpath', 'x'.repeat(5000))), entry({ name: 's', type: '2' }))],
    ['has a name part too long', entry({ name: 'x'.repeat(256) })],
    ['has a name of 64 KiB', entry({ name: 'x/'.repeat(32_768) })],
    ['is too deep', entry({ name: 'x/'.repeat(300) })],
    ['has a NUL in a PAX name', all(pax(record('path', 'a\0b')), entry({}))],
    ['has a PAX record without end', all(pax('20 path=a\n'), entry({}))],
    ['has a PAX record of length 0', all(pax('0 path=a\n'), entry({}))],
    ['has a PAX record of negative length', all(pax('-5 path=a\n'), entry({}))],
    ['has a PAX record without a value', all(pax('7 path\n'), entry({}))],
    ['has a PAX record of no number', all(pax('xx path=a\n'), entry({}))],
    ['has a negative PAX size', all(pax(record('size', '-1')), entry({}))],
    ['has a PAX size beyond 2^53', all(pax(record('size', '9999999999999999')), entry({}))],
    ['has a PAX size of no number', all(pax(record('size', '1e9')), entry({}))],
    ['has a negative PAX owner', all(pax(record('uid', '-1')), entry({}))],
    ['has an owner beyond 32 bits', all(pax(record('uid', '4294967295')), entry({}))],
    ['has a PAX time of no number', all(pax(record('mtime', 'abc')), entry({}))],
    ['has an attribute without a name', all(pax(record('SCHILY.xattr.user.', 'abc')), entry({}))],
    ['has an attribute with a long name', entry({ xattrs: new Map([[`user.${'x'.repeat(300)}`, 'v']]) })],
    ['has an attribute too long', entry({ xattrs: new Map([['user.x', 'v'.repeat(70_000)]]) })],
    ['has a PAX header of 2 MiB', entry({ name: 'p', type: 'x', data: 'x'.repeat(2 << 20) })],
    ['has endless extended headers', all(...Array.from({ length: 20 }, () => pax(record('comment', 'a'))), entry({}))],
    ['ends after an extended header', pax(record('path', 'a'))],
    ['ends in a header', entry({}).subarray(0, 300)],
    ['ends in a file', entry({ data: 'abc' }).subarray(0, 514)],
    ['ends in a PAX header', pax(record('path', 'a')).subarray(0, 515)],
    ['claims a size it does not have', resum(entry({ size: 1 << 30 }))],
    ['has a wrong checksum', broken],
    ['has a size of no number', resum(badSize)],
    ['has a negative size', resum(negative)],
    ['is sparse in the old way', entry({ type: 'S' })],
    ['is sparse in the new way', all(pax(record('GNU.sparse.major', '1')), entry({}))],
    ['has an unknown type', entry({ type: 'Z' })],
    ['is a continuation of a volume', entry({ type: 'M' })],
    ['is no tar', Buffer.from('<html>'.repeat(200))],
    ['is a zip', Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(2000, 1)])],
  ] as const) {
    it(`that ${name}`, async () => {
      await assert.rejects(transform(tar), HuskError);
    });
  }

  for (const [name, limits, tar] of [
    ['has too many entries', { entries: 10 }, all(...Array.from({ length: 11 }, (_, i) => entry({ name: `f${i}` })))],
    ['implies too many folders', { entries: 50 }, entry({ name: 'x/'.repeat(90) })],
    [
      'has too many whiteouts',
      { entries: 10 },
      all(...Array.from({ length: 11 }, (_, i) => entry({ name: `.wh.f${i}` }))),
    ],
    [
      'has too many bytes of names',
      { nameBytes: 100 },
      all(...Array.from({ length: 11 }, (_, i) => entry({ name: `long-name-${i}` }))),
    ],
  ] as const) {
    it(`that ${name}`, async () => {
      await assert.rejects(transform(tar, { limits }), /found more than/);
    });
  }

  it('that has more owners than squashfs can hold', async () => {
    const owners = Array.from({ length: 33_000 }, (_, i) => entry({ name: `f${i}`, uid: i, gid: 1_000_000 + i }));
    await assert.rejects(transform(all(...owners)), /different owners/);
  });
});

describe('work', () => {
  it('grows in proportion to the whiteouts (CVE-2026-95838)', async () => {
    const opaque = entry({ name: 'd/.wh..wh..opq' });
    const time = async (count: number): Promise<number> => {
      const tar = Buffer.concat(Array.from({ length: count }, () => opaque));
      const start = performance.now();
      await transformLayer(chunked(tar, 1 << 20), () => undefined, defaultLimits);
      return performance.now() - start;
    };
    await time(10_000);
    const ratio = (await time(100_000)) / (await time(10_000));
    assert.ok(ratio < 40, `ten times the entries took ${ratio} times as long`);
  });

  it('of 100 000 different whiteouts is done', async () => {
    const tar = Buffer.concat(Array.from({ length: 100_000 }, (_, i) => entry({ name: `d/.wh.f${i}` })));
    const result = await transformLayer(chunked(tar, 1 << 20), () => undefined, defaultLimits);
    assert.equal(result.entries, 100_000);
  });

  it('never ends but with a result or our error, whatever the bytes', async () => {
    const block = fc.oneof(
      fc.uint8Array({ minLength: 0, maxLength: 2048 }).map((bytes) => Buffer.from(bytes)),
      fc
        .record({
          name: fc.string(),
          type: fc.constantFrom(...Array.from('01234567xgLKS5')),
          link: fc.string(),
          data: fc.string(),
        })
        .map(entry),
      fc.string().map(pax),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(block, { maxLength: 8 }), async (blocks) => {
        try {
          const { lines } = await transform(Buffer.concat(blocks));
          for (const line of lines) assert.doesNotMatch(line.split(' ')[1] ?? '', /^(?!\.\/)|(?:^|\/)\.\.(?:\/|$)/);
        } catch (caught) {
          assert.ok(caught instanceof HuskError, String(caught));
        }
      }),
      { numRuns: 500 },
    );
  });
});
