/** What every hypervisor does: the same tests for the fake and for QEMU. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withDeadline } from '../base/deadline.ts';
import { isKind } from '../base/errors.ts';
import type { Hypervisor, LayerFile, VmConfig } from './hypervisor.ts';

export interface ContractSubject {
  readonly hypervisor: () => Hypervisor;
  /** A configuration of a VM of its own, its folders made. */
  readonly config: (id: string) => Promise<VmConfig>;
  /** Two files that can be layers. */
  readonly layers: () => readonly [LayerFile, LayerFile];
}

/** The longest wait for the end of a VM. */
const endMs = 20_000;

/** Registers the tests. A template of the configuration's size stands already. */
export function hypervisorContract(name: string, subject: ContractSubject): void {
  const start = async (id: string, signal?: AbortSignal) =>
    subject.hypervisor().launch(await subject.config(id), () => undefined, signal);

  test(`${name}: a VM is a clone when a template of its size stands`, async () => {
    const vm = await start('contract-clone');
    assert.equal(vm.ref.origin, 'clone');
    await vm.destroy();
  });

  test(`${name}: destroy ends the VM, and once more is success`, async () => {
    const vm = await start('contract-destroy');
    await vm.destroy();
    const end = await withDeadline('end', endMs, undefined, () => vm.exited);
    assert.equal(end.reason, 'signal 9');
    await vm.destroy();
  });

  test(`${name}: a VM can be cut off, more than once, until it has ended`, async () => {
    const vm = await start('contract-cut-off');
    await vm.cutOff();
    await vm.cutOff();
    await vm.destroy();
    await assert.rejects(vm.cutOff());
  });

  test(`${name}: a reference finds the running VM again, and nothing after its end`, async () => {
    const vm = await start('contract-reattach');
    const again = await subject.hypervisor().reattach(JSON.parse(JSON.stringify(vm.ref)));
    assert.deepEqual(again?.ref, vm.ref);
    await vm.destroy();
    assert.equal(await subject.hypervisor().reattach(vm.ref), undefined);
  });

  test(`${name}: a layer keeps its place, and attached twice it has one place`, async () => {
    const vm = await start('contract-layers');
    const [one, two] = subject.layers();
    const [first] = await vm.attachLayers([one]);
    const [again, second] = await vm.attachLayers([one, two]);
    assert.deepEqual(again, first);
    assert.equal(second?.sizeBytes, two.sizeBytes);
    assert.ok((second?.offsetBytes ?? 0) >= one.sizeBytes);
    await vm.destroy();
  });

  test(`${name}: a cancelled start leaves nothing and says so`, async () => {
    await assert.rejects(start('contract-cancel', AbortSignal.abort()), (caught) => isKind(caught, 'cancelled'));
    const config = await subject.config('contract-cancel');
    await subject.hypervisor().sweep('contract-cancel', config);
  });

  test(`${name}: sweep ends a VM that nobody holds, and is idempotent`, async () => {
    const vm = await start('contract-sweep');
    const config = await subject.config('contract-sweep');
    await subject.hypervisor().sweep('contract-sweep', config);
    await withDeadline('end', endMs, undefined, () => vm.exited);
    await subject.hypervisor().sweep('contract-sweep', config);
    assert.equal(await subject.hypervisor().reattach(vm.ref), undefined);
  });
}
