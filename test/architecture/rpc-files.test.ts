import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unimplementedRuntimeRpcs } from '../../src/cri/unimplemented.ts';
import { readSources } from './sources.ts';

const nouns = ['sandbox', 'container', 'image', 'runtime'];
/** RPCs whose name has no noun of ours in it. */
const nounOf: Readonly<Record<string, string>> = {
  Version: 'runtime',
  Status: 'runtime',
  ExecSync: 'container',
  Exec: 'container',
  Attach: 'container',
  PortForward: 'sandbox',
  ListMetricDescriptors: 'runtime',
};

/** The file that serves an RPC: noun, then verb. `RunPodSandbox` is served by `sandbox-run.ts`. */
function fileOf(rpc: string): string {
  const words = [...rpc.matchAll(/[A-Z][a-z]*/g)].map(([word]) => word.toLowerCase()).filter((word) => word !== 'pod');
  const at = words.findIndex((word) => nouns.includes(word.replace(/(?<=sandbox)es$|s$/, '')));
  const noun = at === -1 ? nounOf[rpc] : (words[at] ?? '').replace(/(?<=sandbox)es$|s$/, '');
  assert.ok(noun !== undefined, `no noun for ${rpc}: add it to nounOf`);
  return `src/cri/${[noun, ...words.filter((_, index) => index !== at)].join('-')}.ts`;
}

function rpcsOf(proto: string): string[] {
  return [...proto.matchAll(/^\s*rpc\s+(\w+)\s*\(/gm)].map((match) => match[1] ?? '');
}

/** Served RPCs without their file, and unserved RPCs with one. */
function misplaced(rpcs: readonly string[], unserved: ReadonlySet<string>, files: ReadonlySet<string>): string[] {
  return rpcs.filter((rpc) => files.has(fileOf(rpc)) === unserved.has(`${rpc.charAt(0).toLowerCase()}${rpc.slice(1)}`));
}

const unserved = new Set<string>(unimplementedRuntimeRpcs);
const rpcs = rpcsOf(readSources('proto/cri/v1/api.proto')[0]?.text ?? '');
const files = readSources('src/cri/*.ts');
const paths = new Set(files.map(({ path }) => path));

test('every RPC of CRI that is served has a file of its own, and no other has one', () => {
  assert.ok(rpcs.length > 30, `found ${rpcs.length} RPCs in the proto file`);
  assert.deepEqual(
    misplaced(rpcs, unserved, paths).map((rpc) => `${rpc}: ${fileOf(rpc)}`),
    [],
  );
});

test('every name in the list of unserved RPCs is an RPC', () => {
  const names = new Set(rpcs.map((rpc) => `${rpc.charAt(0).toLowerCase()}${rpc.slice(1)}`));
  assert.deepEqual(
    [...unserved].filter((name) => !names.has(name)),
    [],
  );
});

test('a file that serves an RPC is at most 150 lines', () => {
  const handlers = new Set(rpcs.map(fileOf));
  const long = files.filter(({ path, text }) => handlers.has(path) && text.split('\n').length > 150);
  assert.deepEqual(
    long.map(({ path }) => path),
    [],
  );
});

test('canary: a served RPC without a file is noticed, and so is a file of an unserved RPC', () => {
  assert.deepEqual(misplaced(['RunPodSandbox'], new Set(), new Set()), ['RunPodSandbox']);
  assert.deepEqual(misplaced(['RunPodSandbox'], new Set(['runPodSandbox']), new Set(['src/cri/sandbox-run.ts'])), [
    'RunPodSandbox',
  ]);
  assert.deepEqual(rpcsOf('  rpc PullImage(PullImageRequest) returns (PullImageResponse);'), ['PullImage']);
});

const names = [
  ['RunPodSandbox', 'sandbox-run'],
  ['StreamPodSandboxes', 'sandbox-stream'],
  ['ReopenContainerLog', 'container-reopen-log'],
  ['ListImages', 'image-list'],
  ['ImageFsInfo', 'image-fs-info'],
  ['ExecSync', 'container-exec-sync'],
  ['UpdateRuntimeConfig', 'runtime-update-config'],
] as const;
for (const [rpc, file] of names) {
  test(`${rpc} belongs into ${file}.ts`, () => assert.equal(fileOf(rpc), `src/cri/${file}.ts`));
}
