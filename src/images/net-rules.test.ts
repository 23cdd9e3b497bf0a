import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { classifyAddress, isSameOwner, judgeRealm, redirectProblem } from './net-rules.ts';
import { parseChallenge } from './worker/challenge.ts';

describe('addresses', () => {
  for (const [address, wanted] of [
    ['127.0.0.1', 'loopback'],
    ['127.255.0.3', 'loopback'],
    ['0.0.0.0', 'loopback'],
    ['::1', 'loopback'],
    ['::', 'loopback'],
    ['::ffff:127.0.0.1', 'loopback'],
    ['::ffff:7f00:1', 'loopback'],
    ['169.254.169.254', 'link-local'],
    ['::ffff:169.254.169.254', 'link-local'],
    ['::ffff:a9fe:a9fe', 'link-local'],
    ['fe80::1%eth0', 'link-local'],
    ['fd00:ec2::254', 'link-local'],
    ['10.0.0.1', 'other'],
    ['8.8.8.8', 'other'],
    ['2001:db8::1', 'other'],
  ] as const) {
    it(`${address} is ${wanted}`, () => assert.equal(classifyAddress(address), wanted));
  }
});

describe('a token server', () => {
  for (const [registry, realm, wanted] of [
    ['https://registry-1.docker.io/v2', 'https://auth.docker.io/token', 'with-credentials'],
    ['https://registry.gitlab.com/v2', 'https://gitlab.com/jwt/auth', 'with-credentials'],
    ['https://ghcr.io/v2', 'https://ghcr.io/token', 'with-credentials'],
    ['https://ghcr.io/v2', 'http://ghcr.io/token', 'refused'],
    ['https://ghcr.io/v2', 'https://evil.io/token', 'without-credentials'],
    ['https://a.co.uk/v2', 'https://b.co.uk/token', 'without-credentials'],
    ['https://r.a.co.uk/v2', 'https://auth.a.co.uk/token', 'with-credentials'],
    ['https://me.github.io/v2', 'https://you.github.io/token', 'without-credentials'],
    ['https://10.0.0.1/v2', 'https://9.0.0.1/token', 'without-credentials'],
    ['http://localhost:5000/v2', 'http://localhost:5000/token', 'with-credentials'],
    ['http://localhost:5000/v2', 'http://localhost:6000/token', 'without-credentials'],
    ['https://ghcr.io/v2', 'file:///etc/passwd', 'refused'],
    ['https://x.io/v2', 'https://token.partner.example/t', 'with-credentials'],
  ] as const) {
    it(`${realm} for ${registry}: ${wanted}`, () => {
      assert.equal(judgeRealm(new URL(registry), new URL(realm), ['token.partner.example']), wanted);
    });
  }

  it('of a doubtful common suffix is another owner', () => {
    assert.equal(isSameOwner('a.amazonaws.com', 'b.amazonaws.com'), false);
    assert.equal(isSameOwner('io', 'io.io'), false);
  });
});

describe('a redirect', () => {
  const far = { loopback: false, linkLocal: false };
  for (const [from, to, reach, fine] of [
    ['https://r.example', 'https://cdn.example/x', far, true],
    ['https://r.example', 'http://cdn.example/x', far, false],
    ['https://r.example', 'https://127.0.0.1/x', far, false],
    ['https://r.example', 'https://localhost/x', far, false],
    ['https://r.example', 'https://[::1]/x', far, false],
    ['https://r.example', 'https://0x7f.1/x', far, false],
    ['https://r.example', 'https://2130706433/x', far, false],
    ['https://r.example', 'https://169.254.169.254/x', far, false],
    ['https://r.example', 'https://u:p@cdn.example/x', far, false],
    ['http://r.example', 'file:///etc/shadow', far, false],
    ['http://127.0.0.1:5000', 'http://127.0.0.1:6000/x', { loopback: true, linkLocal: false }, true],
    ['http://127.0.0.1:5000', 'http://169.254.169.254/x', { loopback: true, linkLocal: false }, false],
  ] as const) {
    it(`from ${from} to ${to} is ${fine ? 'followed' : 'refused'}`, () => {
      assert.equal(redirectProblem(new URL(from), new URL(to), reach) === undefined, fine);
    });
  }
});

describe('a challenge', () => {
  for (const [header, wanted] of [
    ['Bearer realm="https://a/t",service="s",scope="x"', { scheme: 'bearer', realm: 'https://a/t', service: 's' }],
    ['Basic realm="r", Bearer realm="https://a/t"', { scheme: 'bearer', realm: 'https://a/t', service: '' }],
    ['basic realm=r', { scheme: 'basic', realm: 'r', service: '' }],
    ['Negotiate abc', undefined],
    ['', undefined],
  ] as const) {
    it(`is read from ${JSON.stringify(header)}`, () => assert.deepEqual(parseChallenge(header), wanted));
  }

  it('of any length is read in linear time', () => {
    parseChallenge(`Bearer ${'a=,'.repeat(5000)}`);
    parseChallenge(`Bearer ${' '.repeat(8000)}`);
    parseChallenge(`Bearer realm="${'x'.repeat(100_000)}`);
  });
});
