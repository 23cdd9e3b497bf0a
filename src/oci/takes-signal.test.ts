import assert from 'node:assert/strict';
import { test } from 'node:test';
import { takesSignal } from './takes-signal.ts';

const status = (nsPid: string, blocked: string, caught: string): string =>
  `Name:\tsh\nNSpid:\t${nsPid}\nSigQ:\t0/1\nSigBlk:\t${blocked}\nSigIgn:\t0000000000004000\nSigCgt:\t${caught}\nCapInh:\t0\n`;
const none = '0000000000000000';

test('the first process of a PID namespace takes what it catches or blocks, and what nobody can refuse', () => {
  assert.equal(takesSignal(status('812\t1', none, none), 15), false);
  assert.equal(takesSignal(status('812\t1', none, '0000000000004000'), 15), true);
  assert.equal(takesSignal(status('812\t1', '0000000000004000', none), 15), true);
  assert.equal(takesSignal(status('812\t1', none, '0000000000004000'), 2), false);
  assert.equal(takesSignal(status('812\t1', none, '8000000000000000'), 64), true);
  for (const signal of [9, 19]) assert.equal(takesSignal(status('812\t1', none, none), signal), true);
});

test('any other process takes every signal', () => {
  assert.equal(takesSignal(status('812\t7', none, none), 15), true);
  assert.equal(takesSignal(status('1', none, none), 15), true);
  assert.equal(takesSignal('', 15), true);
});
