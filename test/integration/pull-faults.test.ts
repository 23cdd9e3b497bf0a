/** A fault at each step of PullImage, and the daemon's death at each: nothing is left, and a retry works. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ListImagesRequest, PullImageRequest, RemoveImageRequest } from '../../src/gen/cri/v1/api.ts';
import { buildImage, tarOf } from '../fixtures/oci-image.ts';
import { pushImage, startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { type Daemon, startDaemon } from '../helpers/daemon.ts';
import { assertHoldings, holdingsOf } from '../helpers/holdings.ts';

const image = 'docker.io/library/layered:latest';
/** In the order in which a pull passes them; there are two layers. */
const places = ['pull.start', 'pull.resolve', 'pull.layer', 'pull.fetch'];
let registry: TestRegistry;
let daemon: Daemon;
let clean: string[];

before(async () => {
  registry = await startRegistry();
  const layers = ['one', 'two'].map((name) => ({ tar: tarOf([{ name, data: Buffer.alloc(300_000, name) }]) }));
  await pushImage(registry, 'library/layered:latest', buildImage(layers));
  // No VM is wanted: neither a template nor a look at KVM.
  const flags = ['--template=false', '--accel=tcg'];
  daemon = await startDaemon({ mirror: { to: registry.host, of: ['docker.io'] }, flags });
  clean = await holdingsOf(daemon);
});
after(async () => {
  await daemon?.stop();
  await registry?.stop();
});

const pull = async (): Promise<string> =>
  (await daemon.cri.pullImage(PullImageRequest.fromPartial({ image: { image } }))).imageRef;

async function images(): Promise<string[]> {
  return (await daemon.cri.listImages(ListImagesRequest.fromPartial({}))).images.map(({ id }) => id);
}

/** The retry, and a clean-up that must leave what was there before. */
async function pullAndRemove(): Promise<void> {
  const imageRef = await pull();
  assert.deepEqual(await images(), [imageRef]);
  await daemon.cri.removeImage(RemoveImageRequest.fromPartial({ image: { image } }));
  await assertHoldings(daemon, clean);
}

for (const place of places) {
  test(`a fault after ${place} fails PullImage and leaves nothing; a retry works`, async () => {
    await daemon.kill();
    await daemon.restart({ HUSK_FAILPOINTS: `${place}=error*1` });
    await assert.rejects(pull(), { message: new RegExp(`failpoint "${place}"`) });
    assert.deepEqual(await images(), []);
    await assertHoldings(daemon, clean);
    await pullAndRemove();
  });
}

for (const place of [...places, 'pull.record']) {
  test(`the daemon killed after ${place} starts again with nothing half done; a retry works`, async () => {
    await daemon.kill();
    await daemon.restart({ HUSK_FAILPOINTS: `${place}=kill` });
    await assert.rejects(pull(), { code: 14 });
    await daemon.restart();
    // Once it is on record it is pulled, whether the client heard so or not.
    assert.equal((await images()).length, place === 'pull.record' ? 1 : 0);
    if (place !== 'pull.record') await assertHoldings(daemon, clean);
    await pullAndRemove();
  });
}
