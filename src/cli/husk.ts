/** `husk`: what CRI clients cannot ask. crictl stays the CRI client. */
import { ChannelCredentials, Metadata } from '@grpc/grpc-js';
import { Command } from 'commander';
import { describeError, HuskError } from '../base/errors.ts';
import { type PodSandboxStatusResponse, RuntimeServiceClient } from '../gen/cri/v1/api.ts';
import type { TimelineStep } from '../pod/records.ts';
import { settings } from './config.ts';
import { timelineText } from './timeline.ts';
import { version } from './version.ts';

const callMs = 10_000;

const program = new Command('husk')
  .description('looks at husk: what CRI clients cannot ask')
  .version(version)
  .option(
    '-r, --runtime-endpoint <URL>',
    'socket of huskd',
    process.env['CONTAINER_RUNTIME_ENDPOINT'] ?? settings.listen.fallback,
  );

program
  .command('timeline')
  .description('where the time of a pod’s start went')
  .argument('<POD>', 'id of the pod, or the beginning of it')
  .option('--json', 'the stamps as JSON')
  .action(async (pod: string, options: { json?: boolean }) => {
    const steps = await timelineOf(program.opts<{ runtimeEndpoint: string }>().runtimeEndpoint, pod);
    process.stdout.write(options.json ? `${JSON.stringify(steps)}\n` : timelineText(steps));
  });

try {
  await program.parseAsync();
} catch (caught) {
  process.stderr.write(`husk: ${describeError(caught)}\n`);
  process.exitCode = 1;
}

async function timelineOf(endpoint: string, podSandboxId: string): Promise<readonly TimelineStep[]> {
  const client = new RuntimeServiceClient(endpoint, ChannelCredentials.createInsecure());
  try {
    const { info } = await podStatus(client, podSandboxId);
    const steps: unknown = JSON.parse(info['timeline'] ?? '[]');
    return Array.isArray(steps) ? steps.filter(isStep) : [];
  } finally {
    client.close();
  }
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

function isStep(value: unknown): value is TimelineStep {
  if (typeof value !== 'object' || value === null) return false;
  return 'step' in value && typeof value.step === 'string' && 'atMs' in value && typeof value.atMs === 'number';
}
