import { agentContract } from './agent.contract.ts';
import { FakeAgentHub } from './fake.ts';
import { GatewayHarness } from './testing/harness.ts';
import { LogSink } from './testing/log-sink.ts';

agentContract('fake', async () => {
  const sink = new LogSink();
  const hub = new FakeAgentHub(() => sink);
  const id = 'vm';
  let told: Promise<void> = Promise.resolve();
  return {
    hub,
    sink,
    vm: { id, agentSocket: '/none' },
    write: (containerId, line) => void (told = told.then(() => hub.write(id, containerId, line))),
    exit: (containerId, code) => void (told = told.then(() => hub.exit(id, containerId, code))),
    [Symbol.asyncDispose]: () => told.then(() => hub.close()),
  };
});

agentContract('gateway', async () => {
  const harness = await GatewayHarness.start();
  const guest = await harness.guest('vm');
  return {
    hub: harness.hub,
    sink: harness.sink,
    vm: { id: guest.id, agentSocket: guest.channel.path },
    write: (containerId, line) => guest.agent.write(containerId, 'stdout', Buffer.from(`${line}\n`)),
    exit: (containerId, code) => guest.agent.exit(containerId, code),
    [Symbol.asyncDispose]: () => harness[Symbol.asyncDispose](),
  };
});
