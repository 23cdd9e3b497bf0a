import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { resolveUser, withHome } from './resolve-user.ts';

const files = {
  passwd: [
    'root:x:0:0:root:/root:/bin/sh',
    'web:x:1000:1001::/home/web:/bin/sh',
    '4294967296:x:0:0::/evil:/bin/sh',
    'huge:x:4294967296:0::/:/bin/sh',
    'bad-home:x:7:7::/x\r:/bin/sh',
    '',
  ].join('\n'),
  group: 'root:x:0:\nweb:x:1001:\nwheel:x:10:web,root\nfar:x:99:web-admin\n',
};
const resolve = (user: string, supplementalGroups: number[] = [], strictGroups = false) =>
  resolveUser({ user, supplementalGroups, strictGroups }, files);

test('users are resolved as the image says', () => {
  const cases: [string, [number, number, number[], string]][] = [
    ['', [0, 0, [0, 10], '/root']],
    ['0', [0, 0, [0, 10], '/root']],
    ['web', [1000, 1001, [1001, 10], '/home/web']],
    ['1000', [1000, 1001, [1001, 10], '/home/web']],
    ['1234', [1234, 0, [0], '/']],
    ['web:wheel', [1000, 10, [10], '/home/web']],
    ['web:0', [1000, 0, [0, 10], '/home/web']],
    ['55:66', [55, 66, [66], '/']],
    ['bad-home', [7, 7, [7], '/']],
  ];
  for (const [text, [uid, gid, supplementalGroups, home]] of cases) {
    assert.deepEqual(resolve(text), { uid, gid, supplementalGroups, home }, text);
  }
});

test('the policy Strict leaves out the groups of the image, never the primary one', () => {
  assert.deepEqual(resolve('web', [5], true).supplementalGroups, [1001, 5]);
  assert.deepEqual(resolve('web', [5, 10]).supplementalGroups, [1001, 10, 5]);
});

test('text that is no user is refused: ids out of range, unknown names, stray colons, control characters', () => {
  const bad = [
    '4294967296',
    '2147483648',
    '-1',
    '+1',
    '00',
    '007',
    '0x0',
    '1e3',
    ' 0',
    'nobody',
    'huge',
    'web:',
    ':0',
    ':',
    '0:0:0',
    'web:none',
    'web:99999999999',
    'we\nb',
    'web\0',
    '٣',
  ];
  for (const text of bad) assert.throws(() => resolve(text), { kind: 'invalid-argument' }, JSON.stringify(text));
});

test('digits are an id whatever the image calls by them', () => {
  fc.assert(
    fc.property(fc.nat(2_147_483_647), fc.string(), (id, junk) => {
      const passwd = `${id}:x:0:0::/:/bin/sh\n${junk}`;
      const { uid } = resolveUser(
        { user: String(id), supplementalGroups: [], strictGroups: false },
        { passwd, group: undefined },
      );
      assert.equal(uid, id);
    }),
  );
});

test('no passwd file of an image gives an id out of range or crashes', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.string({ maxLength: 5 }), (passwd, group, user) => {
      try {
        const found = resolveUser({ user, supplementalGroups: [], strictGroups: false }, { passwd, group });
        for (const id of [found.uid, found.gid, ...found.supplementalGroups])
          assert.ok(Number.isInteger(id) && id >= 0 && id < 2 ** 31);
      } catch (caught) {
        assert.equal((caught as { kind?: string }).kind, 'invalid-argument');
      }
    }),
  );
});

test('HOME is added when the environment has none or an empty one, which runC would fill too', () => {
  assert.deepEqual(withHome(['A=1'], '/home/web'), ['A=1', 'HOME=/home/web']);
  assert.deepEqual(withHome(['HOME=/x'], '/home/web'), ['HOME=/x']);
  assert.deepEqual(withHome(['HOME=/x', 'HOME='], '/home/web'), ['HOME=/x', 'HOME=', 'HOME=/home/web']);
});
