/** Traces of real calls against a collector's stand-in on loopback. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { sleep } from '../base/deadline.ts';
import { silentLog } from '../base/log.ts';
import { mark, type RemoteParent, span, type Trace, traced } from '../base/trace.ts';
import { OtlpExporter } from './otlp.ts';

interface SentSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly status: { readonly code?: number };
  readonly attributes: readonly { readonly key: string; readonly value: object }[];
}
interface Body {
  readonly resourceSpans: readonly { readonly scopeSpans: readonly { readonly spans: readonly SentSpan[] }[] }[];
}

const remote: RemoteParent = { traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8), sampled: true };

async function collector(
  answer: number,
): Promise<{ url: string; spans: SentSpan[]; requests: () => number; server: Server }> {
  const spans: SentSpan[] = [];
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    void request.toArray().then((chunks) => {
      assert.deepEqual([request.method, request.url], ['POST', '/v1/traces']);
      assert.equal(request.headers['content-type'], 'application/json');
      const body = JSON.parse(Buffer.concat(chunks as Buffer[]).toString()) as Body;
      spans.push(...body.resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans)));
      response.writeHead(answer).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/v1/traces`, spans, requests: () => requests, server };
}

async function traceOf(parent: RemoteParent | undefined): Promise<Trace> {
  const ended = Promise.withResolvers<Trace>();
  const work = (): Promise<void> =>
    span('network', async () => {
      await sleep(2);
      mark('instant');
    });
  await traced('RunPodSandbox', parent, ended.resolve, work);
  return ended.promise;
}

const exporter = (endpoint: string): OtlpExporter =>
  new OtlpExporter({ endpoint, version: '1.2.3', hostname: 'node-1', log: silentLog });
const call = (trace: Trace, rpc = 'RunPodSandbox') => ({ rpc, code: 'OK', ms: 3, podId: 'pod-1', trace });

test('spans arrive as children of the caller’s span, nested, with times of the wall clock', async () => {
  const { url, spans, server } = await collector(200);
  const before = BigInt(Date.now()) * 1_000_000n;
  await using otlp = exporter(url);
  otlp.observe(call(await traceOf(remote)));
  await otlp[Symbol.asyncDispose]();
  server.close();
  const [root, network, instant] = spans;
  assert.deepEqual(
    spans.map(({ name, kind }) => [name, kind]),
    [
      ['RunPodSandbox', 2],
      ['network', 1],
      ['instant', 1],
    ],
  );
  assert.ok(spans.every(({ traceId, spanId }) => traceId === remote.traceId && /^[0-9a-f]{16}$/.test(spanId)));
  assert.deepEqual(
    [root?.parentSpanId, network?.parentSpanId, instant?.parentSpanId],
    [remote.spanId, root?.spanId, network?.spanId],
  );
  assert.ok(BigInt(root!.startTimeUnixNano) >= before - 1_000_000n);
  assert.ok(BigInt(network!.endTimeUnixNano) - BigInt(network!.startTimeUnixNano) >= 1_000_000n);
  assert.ok(root!.attributes.some(({ key }) => key === 'husk.pod.id'));
});

test('a trace that the caller does not record is not sent, nor a poll that nobody traces', async () => {
  const { url, requests, server } = await collector(200);
  const otlp = exporter(url);
  otlp.observe(call(await traceOf({ ...remote, sampled: false })));
  otlp.observe(call(await traceOf(undefined), 'PodSandboxStatus'));
  await otlp[Symbol.asyncDispose]();
  server.close();
  assert.equal(requests(), 0);
});

test('a collector that refuses or is not there costs spans and nothing else; waiting spans have a limit', async () => {
  const { url, spans, server } = await collector(503);
  const refused = exporter(url);
  const trace = await traceOf(undefined);
  for (let index = 0; index < 2_000; index += 1) refused.observe(call(trace));
  await refused[Symbol.asyncDispose]();
  server.close();
  server.closeAllConnections();
  assert.ok(spans.length > 0 && spans.length <= 4_096, `${spans.length} spans`);
  const gone = exporter(url);
  gone.observe(call(trace));
  await gone[Symbol.asyncDispose]();
});
