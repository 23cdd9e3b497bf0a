/** `husk`: what CRI clients cannot ask. crictl stays the CRI client. */
import { readFile } from 'node:fs/promises';
import { ChannelCredentials, Metadata } from '@grpc/grpc-js';
import { Command } from 'commander';
import { describeError, HuskError } from '../base/errors.ts';
import { type PodSandboxStatusResponse, RuntimeServiceClient } from '../gen/cri/v1/api.ts';
import type { CallTrace } from '../metrics/pod-traces.ts';
import type { TimelineStep } from '../pod/records.ts';
import { callTreeText } from './call-tree.ts';
import { chromeTrace } from './chrome-trace.ts';
import { settings } from './config.ts';
import { explain, explainText } from './explain.ts';
import { readNodePolicy } from './node-policy.ts';
import { runCommand } from './run/command.ts';
import { timelineText } from './timeline.ts';
import { version } from './version.ts';

const callMs = 10_000;

const program = new Command('husk')
  .description('looks at husk: what CRI clients cannot ask')
  .version(version)
  .enablePositionalOptions()
  .option(
    '-r, --runtime-endpoint <URL>',
    'socket of huskd',
    process.env['CONTAINER_RUNTIME_ENDPOINT'] ?? settings.listen.fallback,
  );

program
  .command('timeline')
  .description('where the time of a pod’s calls went')
  .argument('<POD>', 'id of the pod, or the beginning of it')
  .option('--json', 'the stamps of its start as JSON')
  .option('--chrome', 'all calls in Chrome’s trace format, for ui.perfetto.dev')
  .action(async (pod: string, options: { json?: boolean; chrome?: boolean }) => {
    const told = await traceOf(program.opts<{ runtimeEndpoint: string }>().runtimeEndpoint, pod);
    process.stdout.write(timelineOutput(told, options));
  });

program
  .command('explain')
  .description('which runtime the pods of a Kubernetes manifest get on this node, and why')
  .argument('<FILE>', 'manifest; - for standard input')
  .option('--json', 'the answer as JSON')
  .option('--policy-file <FILE>', 'policy of the node', settings.policyFile.fallback)
  .option('--native-handlers <NAMES>', 'native handlers of the node beside "native", comma-separated', '')
  .action(async (file: string, options: { json?: boolean; policyFile: string; nativeHandlers: string }) => {
    const manifest = await readFile(file === '-' ? '/dev/stdin' : file, 'utf8');
    const native = await readNodePolicy(options.policyFile);
    const nativeHandlers = options.nativeHandlers.split(',').filter((name) => name !== '');
    const explanations = explain(manifest, { native, nativeHandlers });
    process.stdout.write(options.json ? `${JSON.stringify(explanations)}\n` : explainText(explanations));
  });

// What a run has open, standard input above all, must not keep the process.
program.addCommand(runCommand((code) => process.exit(code)));

try {
  await program.parseAsync();
} catch (caught) {
  process.stderr.write(`husk: ${describeError(caught)}\n`);
  process.exitCode = 1;
}

interface PodTrace {
  readonly id: string;
  readonly steps: readonly TimelineStep[];
  readonly calls: readonly CallTrace[];
}

async function traceOf(endpoint: string, podSandboxId: string): Promise<PodTrace> {
  const client = new RuntimeServiceClient(endpoint, ChannelCredentials.createInsecure());
  try {
    const { status, info } = await podStatus(client, podSandboxId);
    const steps: unknown = JSON.parse(info['timeline'] ?? '[]');
    const calls: unknown = JSON.parse(info['calls'] ?? '[]');
    return {
      id: status?.id ?? podSandboxId,
      steps: Array.isArray(steps) ? steps.filter(isStep) : [],
      calls: Array.isArray(calls) ? calls.filter(isCallTrace) : [],
    };
  } finally {
    client.close();
  }
}

/** A daemon that was restarted knows the stamps of the start alone: calls are kept in its memory. */
function timelineOutput({ id, steps, calls }: PodTrace, options: { json?: boolean; chrome?: boolean }): string {
  if (options.chrome) return `${JSON.stringify(chromeTrace(id, calls))}\n`;
  if (options.json) return `${JSON.stringify(steps)}\n`;
  return calls.length === 0 ? timelineText(steps) : callTreeText(calls);
}

async function podStatus(client: RuntimeServiceClient, podSandboxId: string): Promise<PodSandboxStatusResponse> {
  const { promise, resolve, reject } = Promise.withResolvers<PodSandboxStatusResponse>();
  const options = { deadline: Date.now() + callMs };
  client.podSandboxStatus({ podSandboxId, verbose: true }, new Metadata(), options, (error, response) => {
    if (error === null) resolve(response);
    else
      reject(new HuskError('unavailable', `ask huskd for pod "${podSandboxId}": ${error.details}`, { cause: error }));
  });
  return promise;
}

function isCallTrace(value: unknown): value is CallTrace {
  if (typeof value !== 'object' || value === null) return false;
  return 'rpc' in value && 'startedAtNs' in value && 'spans' in value && Array.isArray(value.spans);
}

function isStep(value: unknown): value is TimelineStep {
  if (typeof value !== 'object' || value === null) return false;
  return 'step' in value && typeof value.step === 'string' && 'atMs' in value && typeof value.atMs === 'number';
}
