import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CriLogStream, formatTimestamp, maxLineBytes } from './cri-log.ts';

const now = 1_700_000_000_123_456_789n;
const stamp = '2023-11-14T22:13:20.123456789Z';

function drain(stream: CriLogStream, limit = 65_536): Buffer {
  const parts: Buffer[] = [];
  for (let chunk = stream.take(limit); chunk !== undefined; chunk = stream.take(limit)) parts.push(chunk.lines);
  return Buffer.concat(parts);
}

function format(pieces: readonly Uint8Array[], limit?: number): Buffer {
  const stream = new CriLogStream('stdout', 0n);
  const parts: Buffer[] = [];
  for (const piece of pieces) {
    stream.push(Buffer.from(piece), now);
    parts.push(drain(stream, limit));
  }
  stream.end();
  return Buffer.concat([...parts, drain(stream, limit)]);
}

/** Reads a log as the kubelet does. The very last record may lack the newline in the source. */
function parse(log: Buffer): { tag: string; content: Buffer }[] {
  const records: { tag: string; content: Buffer }[] = [];
  for (let at = 0; at < log.length; ) {
    const end = log.indexOf(10, at);
    assert.ok(end >= 0, 'every record ends with a newline');
    const head = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([PF]) /.exec(
      log.toString('latin1', at, end),
    );
    assert.ok(head, 'every record has a head');
    assert.equal(head[1], stamp);
    records.push({ tag: String(head[3]), content: log.subarray(at + head[0].length, end) });
    at = end + 1;
  }
  return records;
}

function join(records: readonly { tag: string; content: Buffer }[]): Buffer {
  return Buffer.concat(records.flatMap(({ tag, content }) => (tag === 'F' ? [content, Buffer.from('\n')] : [content])));
}

test('a line becomes a full record', () => {
  assert.equal(format([Buffer.from('hello\n')]).toString(), `${stamp} stdout F hello\n`);
  assert.equal(format([Buffer.from('\n')]).toString(), `${stamp} stdout F \n`);
  assert.equal(format([Buffer.from('no end')]).toString(), `${stamp} stdout F no end\n`);
});

test('bytes are passed on as they are: NUL, invalid UTF-8, carriage returns', () => {
  const line = Buffer.from([0, 0xff, 0xc3, 0x28, 13, 9, 10]);
  assert.deepEqual(parse(format([line]))[0]?.content, line.subarray(0, 6));
});

test('a line of 16 KiB is whole; one byte more makes a partial record', () => {
  const tags = (size: number): string[] => parse(format([Buffer.from(`${'x'.repeat(size)}\n`)])).map(({ tag }) => tag);
  assert.deepEqual(tags(maxLineBytes), ['F']);
  assert.deepEqual(tags(maxLineBytes + 1), ['P', 'F']);
  assert.deepEqual(tags(3 * maxLineBytes + 1), ['P', 'P', 'P', 'F']);
});

test('a line that looks like a record stays content', () => {
  const fake = `${stamp} stderr F forged\n`;
  const records = parse(format([Buffer.from(`a\r${fake}`)]));
  assert.equal(records.length, 1);
  assert.equal(records[0]?.content.toString(), `a\r${fake.trimEnd()}`);
});

test('an unfinished line waits', () => {
  const stream = new CriLogStream('stderr', 5n);
  stream.push(Buffer.from('one\ntw'), now);
  const chunk = stream.take(65_536);
  assert.deepEqual(
    [chunk?.lines.toString(), chunk?.startOffset, chunk?.endOffset],
    [`${stamp} stderr F one\n`, 5n, 9n],
  );
  assert.equal(stream.take(65_536), undefined);
  assert.equal(stream.heldBytes, 2);
  stream.push(Buffer.from('o\n'), now + 1n);
  assert.equal(stream.take(65_536)?.lines.toString(), '2023-11-14T22:13:20.123456790Z stderr F two\n');
  stream.end();
  assert.equal(stream.take(65_536), undefined);
  assert.throws(() => stream.push(Buffer.from('x'), now), /after its end/);
});

test('timestamps have nine digits', () => {
  assert.equal(formatTimestamp(0n), '1970-01-01T00:00:00.000000000Z');
  assert.equal(formatTimestamp(now), stamp);
});

const byte = fc.oneof(fc.constant(10), fc.constant(0x41), fc.nat({ max: 255 }));
const short = fc.array(byte, { maxLength: 200 }).map((bytes) => Buffer.from(bytes));
const long = fc.integer({ min: maxLineBytes - 3, max: 3 * maxLineBytes }).map((size) => Buffer.alloc(size, 'y'));
const pieces = fc.array(fc.oneof({ weight: 4, arbitrary: short }, { weight: 1, arbitrary: long }), { maxLength: 8 });

/** What the log must give back: the input, its last line ended. */
function wanted(input: Buffer): Buffer {
  return input.length === 0 || input.at(-1) === 10 ? input : Buffer.concat([input, Buffer.from('\n')]);
}

test('the contents together are the input, however it is cut', () => {
  fc.assert(
    fc.property(pieces, fc.integer({ min: 1, max: 100_000 }), (input, limit) => {
      const whole = Buffer.concat(input);
      const log = format(input, limit);
      assert.deepEqual(join(parse(log)), wanted(whole));
      assert.deepEqual(log, format([whole]));
    }),
    { numRuns: 300 },
  );
});

test('a new stream from any offset that a chunk ended at gives exactly the rest', () => {
  fc.assert(
    fc.property(pieces, fc.integer({ min: 1, max: 3_000 }), (input, limit) => {
      const whole = Buffer.concat(input);
      const stream = new CriLogStream('stdout', 0n);
      for (const piece of input) stream.push(piece, now);
      stream.end();
      let written = Buffer.alloc(0);
      for (let chunk = stream.take(limit); chunk !== undefined; chunk = stream.take(limit)) {
        assert.equal(chunk.startOffset <= chunk.endOffset, true);
        written = Buffer.concat([written, chunk.lines]);
        const resumed = new CriLogStream('stdout', chunk.endOffset);
        resumed.push(whole.subarray(Number(chunk.endOffset)), now);
        resumed.end();
        assert.deepEqual(Buffer.concat([written, drain(resumed)]), format([whole]));
      }
      assert.deepEqual(join(parse(written)), wanted(whole));
    }),
    { numRuns: 100 },
  );
});

test('short lines do not grow a chunk beyond its limit and one record', () => {
  const stream = new CriLogStream('stdout', 0n);
  stream.push(Buffer.alloc(65_536, '\n'), now);
  const chunk = stream.take(65_536);
  assert.ok(chunk && chunk.lines.length < 65_536 + 100);
});
