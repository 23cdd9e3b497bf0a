import assert from 'node:assert/strict';
import { test } from 'node:test';
import { processArgs, processEnv } from './process-args.ts';

const image = { imageEntrypoint: ['/entry'], imageCmd: ['serve'] };

for (const [words, command, args, expected] of [
  ['the image decides when the pod says nothing', [], [], ['/entry', 'serve']],
  ['args replace the cmd', [], ['a'], ['/entry', 'a']],
  ['a command replaces entrypoint and cmd', ['/bin/c'], [], ['/bin/c']],
  ['command and args stand alone', ['/bin/c'], ['x'], ['/bin/c', 'x']],
] as const) {
  test(words, () => assert.deepEqual(processArgs({ command, args, ...image }), expected));
}

test('no command anywhere is refused', () => {
  assert.throws(() => processArgs({ command: [], args: [], imageEntrypoint: [], imageCmd: [] }), {
    kind: 'invalid-argument',
  });
});

test('the pod overrides the image, the image overrides the default path', () => {
  assert.deepEqual(processEnv(['PATH=/x', 'A=1'], ['A=2', 'B=3=4']), ['PATH=/x', 'A=2', 'B=3=4']);
  assert.match(processEnv([], [])[0] ?? '', /^PATH=\/usr\/local\/sbin/);
});
