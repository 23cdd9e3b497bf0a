import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../src/base/exec.ts';
import { silentLog } from '../../src/base/log.ts';
import { createNetwork } from '../../src/network/host-network.ts';
import type { Network } from '../../src/network/network.ts';

/** A network of Debian's CNI plugins with bridge, subnets, leases and files of its own. */
export interface CniBench {
  readonly network: Network;
  /** Holds `net.d`, `leases`, `attachments` and `plugins`, a plugin folder searched first. */
  readonly folder: string;
  readonly bridge: string;
  /** `10.231.N`: the subnet is its /24. */
  readonly subnet: string;
  /** `fd23:1:N::`: the subnet is its /64. */
  readonly subnet6: string;
  /** Writes the configuration in force. */
  configure(plugins: readonly object[], cniVersion?: string): void;
  /** The bridge plugin's part; both families unless told otherwise. */
  bridgePlugin(change?: object): object;
  /** Takes away the bridge and the folder. */
  close(): Promise<void>;
}

/** Sets one up; `number` below 256 tells those that run at the same time apart. */
export function startCni(number: number): CniBench {
  const folder = mkdtempSync(join(tmpdir(), 'husk-cni-'));
  for (const name of ['net.d', 'plugins']) mkdirSync(join(folder, name));
  const bridge = `hkt${number}`;
  const subnet = `10.231.${number}`;
  const subnet6 = `fd23:1:${number.toString(16)}::`;
  const ipam = {
    type: 'host-local',
    dataDir: join(folder, 'leases'),
    ranges: [[{ subnet: `${subnet}.0/24` }], [{ subnet: `${subnet6}/64` }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  };
  const options = {
    configFolder: join(folder, 'net.d'),
    pluginFolders: [join(folder, 'plugins'), '/usr/lib/cni'],
    attachmentsFolder: join(folder, 'attachments'),
    cniTimeoutMs: 20_000,
    netuse: join(import.meta.dirname, '../../build/bin/husk-netuse'),
  };
  return {
    network: createNetwork(options, silentLog),
    folder,
    bridge,
    subnet,
    subnet6,
    bridgePlugin: (change = {}) => ({
      type: 'bridge',
      bridge,
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam,
      ...change,
    }),
    configure: (plugins, cniVersion = '1.0.0') => {
      const text = JSON.stringify({ cniVersion, name: `net-${bridge}`, plugins });
      writeFileSync(join(folder, 'net.d/10-test.conflist'), text);
    },
    close: async () => {
      await run('ip', ['link', 'del', bridge], { timeoutMs: 10_000 }).catch(() => undefined);
      rmSync(folder, { recursive: true });
    },
  };
}
