import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CgroupUse, ContainerUse } from '../../gen/agent/v1/agent.ts';
import type { PodUse } from '../usage.ts';
import { PodFigures } from './pod-figures.ts';

const wish = { containers: ['c'], details: false };
const ms = (count: number): bigint => BigInt(count) * 1_000_000n;

/** A VM pod at times that the test sets. */
class Pod {
  readonly figures = new PodFigures();
  #nowMs = 0;
  #podMs = 0;
  #containerMs = 0;

  /** Time passes; the pod runs for so long meanwhile, the container for so much of it. */
  pass(forMs: number, podMs: number, containerMs: number = 0): void {
    this.#nowMs += forMs;
    this.#podMs += podMs;
    this.#containerMs += containerMs;
  }

  /** Its guest is asked, which takes so much CPU time. */
  ask(costMs: number = 10): ReturnType<PodFigures['keep']> {
    this.#podMs += costMs;
    const containers = new Map([
      ['c', ContainerUse.fromPartial({ containerId: 'c', cgroup: this.#cpu(this.#containerMs) })],
    ]);
    return this.#keep({ containers, askedNs: ms(costMs) });
  }

  /** A look that takes over what it may; undefined when it may not. */
  look(): ReturnType<PodFigures['keep']> | undefined {
    const held = this.figures.held(wish);
    if (held === undefined || ms(this.#podMs) > held.untilCpuNs) return undefined;
    return this.#keep({ containers: held.containers });
  }

  get wantsWord(): boolean {
    return this.figures.wantsWord(this.#nowMs);
  }

  #keep(part: Pick<PodUse, 'containers' | 'askedNs'>): ReturnType<PodFigures['keep']> {
    const pod = CgroupUse.fromPartial(this.#cpu(this.#podMs));
    return this.figures.keep({ pod, interfaces: [], writableFolder: '', ...part }, false, ms(this.#nowMs), this.#nowMs);
  }

  #cpu(usedMs: number): { cpu: { usageNs: bigint } } {
    return { cpu: { usageNs: ms(usedMs) } };
  }
}

/** A pod that was asked until there is nothing left to ask. */
function quietPod(): Pod {
  const pod = new Pod();
  for (let round = 0; round < 3; round += 1) {
    pod.ask();
    pod.pass(12_000, 1);
  }
  pod.ask();
  assert.equal(pod.wantsWord, false);
  return pod;
}

test('what a pod said holds while it hardly runs, and is of the time at which the host saw that', () => {
  const pod = quietPod();
  pod.pass(10_000, 15);
  const held = pod.look();
  assert.equal(held?.atNs, ms(46_000));
  assert.equal(held.use.containers.has('c'), true);
  assert.equal(pod.wantsWord, false);
});

test('a pod that has run is asked: soon when it ran little, at once when it ran much', () => {
  const pod = quietPod();
  pod.pass(10_000, 40);
  assert.notEqual(pod.look(), undefined, 'less than two budgets of three times 10 ms');
  assert.equal(pod.wantsWord, true, 'but more than one');
  pod.pass(1_000, 30);
  assert.equal(pod.look(), undefined);
});

test('a costly question may be put off for longer, but not for ever', () => {
  const pod = quietPod();
  pod.ask(1_000);
  pod.pass(1_000, 390);
  assert.notEqual(pod.look(), undefined);
  pod.pass(1_000, 20);
  assert.equal(pod.look(), undefined);
});

test('a pod that became quiet is asked once more, since its guest counts written bytes now and then only', () => {
  const pod = quietPod();
  pod.pass(10_000, 5_000, 5_000);
  pod.ask();
  pod.pass(11_000, 1);
  pod.look();
  assert.equal(pod.wantsWord, false);
  pod.pass(2_000, 1);
  pod.look();
  assert.equal(pod.wantsWord, true);
  pod.ask();
  assert.equal(pod.wantsWord, false);
});

test('rates of containers are from word to word, and never above what their pod used since', () => {
  const pod = new Pod();
  assert.equal(pod.ask().nanoCores.get('c'), undefined, 'one look has no rate');
  pod.pass(1_000, 500, 400);
  assert.equal(pod.look(), undefined, 'it ran');
  assert.equal(pod.ask().nanoCores.get('c'), 400_000_000n);
  pod.pass(1_000, 10);
  const { nanoCores } = pod.look()!;
  assert.equal(nanoCores.get('c'), 10_000_000n, 'not the 400 millicores of before');
  pod.pass(1_000, 190, 20);
  assert.equal(pod.ask().nanoCores.get('c'), 10_000_000n, 'over both seconds since the last word');
});

test('another set of containers, or details that were not asked for, make a look of its own', () => {
  const pod = quietPod();
  assert.notEqual(pod.figures.held(wish), undefined);
  for (const containers of [[], ['d'], ['c', 'd']]) assert.equal(pod.figures.held({ ...wish, containers }), undefined);
  assert.equal(pod.figures.held({ ...wish, details: true }), undefined);
  assert.equal(pod.figures.fresh(36_000, 1_000, { ...wish, containers: [] }), undefined);
  assert.notEqual(pod.figures.fresh(36_000, 1_000, wish), undefined);
});

test('a counter that went back has no rate', () => {
  const pod = new Pod();
  pod.pass(0, 500, 500);
  pod.ask();
  pod.pass(2_000, 0, -400);
  assert.deepEqual([...pod.ask().nanoCores.keys()], ['']);
});
