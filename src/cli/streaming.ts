/** Where exec, attach and port-forward are served, checked before anything listens. */
import { readFile } from 'node:fs/promises';
import { BlockList, isIP } from 'node:net';
import { HuskError } from '../base/errors.ts';
import type { GatewaySettings } from '../gateway/settings.ts';
import type { Config } from './config.ts';

export type StreamingSettings = GatewaySettings['streaming'];

type Flags = Pick<
  Config,
  'streamingServerAddr' | 'streamingServerPort' | 'streamingServerTlsCert' | 'streamingServerTlsKey'
>;

/**
 * Reads the certificate and the key, which the gateway's user cannot.
 * @throws HuskError `invalid-argument` for an address that others reach without TLS, or half a pair of files
 */
export async function streamingSettings(config: Flags): Promise<StreamingSettings> {
  const { streamingServerAddr: address, streamingServerPort: port } = config;
  const { streamingServerTlsCert: cert, streamingServerTlsKey: key } = config;
  if (isIP(address) === 0) {
    throw refusal(`--streaming-server-addr "${address}": must be an IP address`, 'the default is 127.0.0.1');
  }
  if ((cert === '') !== (key === '')) {
    throw refusal(
      `--streaming-server-tls-cert "${cert}", --streaming-server-tls-key "${key}": one without the other`,
      'give both, or none',
    );
  }
  if (cert === '' && !isLoopback(address)) {
    throw refusal(
      `--streaming-server-addr "${address}": others than this machine reach it, and what it serves is not encrypted`,
      'give --streaming-server-tls-cert and --streaming-server-tls-key, or use 127.0.0.1',
    );
  }
  return cert === '' ? { address, port } : { address, port, tls: { cert: await read(cert), key: await read(key) } };
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

function isLoopback(address: string): boolean {
  return loopback.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new HuskError('invalid-argument', `read "${path}" for the streaming server: ${String(cause)}`, {
      cause,
      stage: 'config',
    });
  }
}

function refusal(message: string, hint: string): HuskError {
  return new HuskError('invalid-argument', message, { stage: 'config', hint });
}
