import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { HuskError } from '../base/errors.ts';
import {
  AuthConfig,
  type ImageFsInfoResponse,
  ImageSpec,
  type ImageStatusResponse,
  type ListImagesResponse,
  type PullImageResponse,
} from '../gen/cri/v1/api.ts';
import { startFixture } from './fixture.ts';
import { toRegistryAuth } from './image-pull.ts';

const spec = (image: string, runtimeHandler = ''): ImageSpec => ImageSpec.create({ image, runtimeHandler });

test('an image is pulled, listed, told of and removed, with one identifier', async () => {
  await using fixture = await startFixture();
  const { imageRef } = await fixture.call<object, PullImageResponse>('pullImage', { image: spec('busybox') });
  const { images } = await fixture.call<object, ListImagesResponse>('listImages', { filter: undefined });
  assert.deepEqual(
    images.map(({ id, repoTags, size, uid, username }) => [id, repoTags, size, uid?.value, username]),
    [[imageRef, ['busybox:latest'], 1234n, 1003n, '']],
  );
  for (const name of ['busybox', 'busybox:latest', imageRef]) {
    const { image } = await fixture.call<object, ImageStatusResponse>('imageStatus', {
      image: spec(name),
      verbose: true,
    });
    assert.equal(image?.id, imageRef, name);
  }
  const filtered = await fixture.call<object, ListImagesResponse>('listImages', { filter: { image: spec('other') } });
  assert.deepEqual(filtered.images, []);
  for (const name of [imageRef, imageRef, 'never-here:1']) await fixture.call('removeImage', { image: spec(name) });
  const gone = await fixture.call<object, ImageStatusResponse>('imageStatus', {
    image: spec('busybox'),
    verbose: false,
  });
  assert.equal(gone.image, undefined);
});

test('a registry that does not answer is Unknown with the prefix that the kubelet looks for', async () => {
  await using fixture = await startFixture();
  fixture.images.pullError = new HuskError('unavailable', 'connect to "reg.example": timed out', { stage: 'pull' });
  await assert.rejects(
    fixture.call('pullImage', { image: spec('reg.example/a') }),
    (error: { code: number; details: string }) => {
      assert.equal(error.code, status.UNKNOWN);
      return error.details.startsWith('RegistryUnavailable: stage pull: connect to "reg.example": timed out');
    },
  );
  fixture.images.pullError = new HuskError('data-loss', 'verify layer "sha256:00": digest differs');
  await assert.rejects(fixture.call('pullImage', { image: spec('a') }), { code: status.DATA_LOSS });
});

test('requests without a usable image are refused', async () => {
  await using fixture = await startFixture();
  for (const image of [undefined, spec(''), spec('a b'), spec('a\nb'), spec('x'.repeat(2000))]) {
    for (const rpc of ['pullImage', 'removeImage', 'imageStatus']) {
      await assert.rejects(fixture.call(rpc, { image, verbose: false }), { code: status.INVALID_ARGUMENT }, rpc);
    }
  }
  const handler = fixture.call('pullImage', { image: spec('a', 'kata') });
  await assert.rejects(handler, { code: status.INVALID_ARGUMENT, details: /image\.runtime_handler "kata"/ });
});

test('ImageFsInfo answers from the start', async () => {
  await using fixture = await startFixture();
  const info = await fixture.call<object, ImageFsInfoResponse>('imageFsInfo', {});
  const [usage] = info.imageFilesystems;
  assert.deepEqual(
    [usage?.fsId?.mountpoint, usage?.usedBytes?.value, usage?.inodesUsed?.value],
    ['/var/lib/husk/images', 4096n, 3n],
  );
  assert.ok((usage?.timestamp ?? 0n) > 0n);
});

test('credentials are understood in all their forms, and never shown', () => {
  const auth = (change: object): AuthConfig => ({ ...AuthConfig.create({}), ...change });
  assert.equal(toRegistryAuth(undefined), undefined);
  assert.equal(toRegistryAuth(auth({})), undefined);
  const basic = Buffer.from('me:a:b').toString('base64');
  assert.deepEqual(toRegistryAuth(auth({ auth: basic })), { username: 'me', password: 'a:b' });
  assert.deepEqual(toRegistryAuth(auth({ username: 'u', password: 'p', serverAddress: 'r' })), {
    username: 'u',
    password: 'p',
    serverAddress: 'r',
  });
  assert.deepEqual(toRegistryAuth(auth({ identityToken: 't' })), { identityToken: 't' });
  for (const bad of [auth({ auth: 'c2VjcmV0' }), auth({ auth: '%%%:' }), auth({ password: 'secret\r\n' })]) {
    assert.throws(
      () => toRegistryAuth(bad),
      (error: HuskError) => {
        return error.kind === 'invalid-argument' && !error.message.includes('secret');
      },
    );
  }
});
