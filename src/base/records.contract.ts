import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { RecordStore } from './records.ts';
import { asInteger, asObject } from './shape.ts';

/** The record that the contract suite stores. */
export interface Sample {
  readonly version: 1;
  readonly count: number;
  readonly nested: { readonly list: readonly number[] };
}

/** Makes a sample. */
export function sample(count: number): Sample {
  return { version: 1, count, nested: { list: [count] } };
}

/** Reads a sample, or throws. */
export function parseSample(value: unknown): Sample {
  const object = asObject(value, 'sample');
  if (object['version'] !== 1) throw new Error('unknown version');
  return {
    version: 1,
    count: asInteger(object['count'], 'count'),
    nested: { list: (asObject(object['nested'], 'nested')['list'] as number[]) ?? [] },
  };
}

/** What every RecordStore promises. `withStore` gives each case a new, empty store and takes it away again. */
export function recordStoreContract(
  name: string,
  withStore: (use: (store: RecordStore<Sample>) => void) => void,
): void {
  const contract = (sentence: string, use: (store: RecordStore<Sample>) => void): void => {
    it(sentence, () => withStore(use));
  };
  describe(`record store: ${name}`, () => {
    contract('has nothing at first', (store) => {
      assert.equal(store.get('a'), undefined);
      assert.deepEqual(store.list(), []);
    });
    contract('gives back what was put', (store) => {
      store.put('a', sample(1));
      assert.deepEqual(store.get('a'), sample(1));
    });
    contract('lists in the order of insertion, and a replacement keeps its place', (store) => {
      for (const id of ['c', 'a', 'b']) store.put(id, sample(id.charCodeAt(0)));
      store.put('c', sample(7));
      assert.deepEqual(store.list(), [sample(7), sample(97), sample(98)]);
    });
    contract('puts a record that was deleted and came back at the end', (store) => {
      for (const [index, id] of ['a', 'b'].entries()) store.put(id, sample(index));
      store.delete('a');
      store.put('a', sample(5));
      assert.deepEqual(store.list(), [sample(1), sample(5)]);
    });
    contract('deletes, and an absent id is fine', (store) => {
      store.put('a', sample(1));
      store.delete('a');
      store.delete('a');
      assert.equal(store.get('a'), undefined);
      assert.deepEqual(store.list(), []);
    });
    contract('does not follow later changes of the object that was put', (store) => {
      const record = { version: 1 as const, count: 1, nested: { list: [1] } };
      store.put('a', record);
      record.nested.list.push(2);
      assert.deepEqual(store.get('a'), sample(1));
    });
    contract('hands out records that cannot be changed in place', (store) => {
      store.put('a', sample(1));
      const list = store.get('a')?.nested.list as number[];
      assert.throws(() => list.push(2), TypeError);
      assert.deepEqual(store.get('a'), sample(1));
    });
    contract('refuses a record that it could not read back, and keeps the old one', (store) => {
      store.put('a', sample(1));
      assert.throws(() => store.put('a', { ...sample(2), count: 0.5 }));
      assert.deepEqual(store.get('a'), sample(1));
    });
    contract('takes any text as an id', (store) => {
      for (const id of ['', "'; DROP TABLE records; --", '\u0000', 'ü', '__proto__']) {
        store.put(id, sample(id.length));
        assert.deepEqual(store.get(id), sample(id.length));
      }
    });
  });
}
