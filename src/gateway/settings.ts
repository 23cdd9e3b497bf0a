/** What huskd tells a gateway at its start, on standard input: it may hold a private key. */
import { createHash } from 'node:crypto';
import { HuskError } from '../base/errors.ts';

export interface GatewaySettings {
  /** Where clients of exec, attach and port-forward connect. */
  readonly streaming: {
    readonly address: string;
    readonly port: number;
    /** PEM texts; absent: no TLS. */
    readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  };
  /** Of the text that they came as: another one means that huskd's configuration has changed. */
  readonly digest: string;
}

const maxSettingsBytes = 1024 * 1024;

/** What identifies the text of a gateway's settings. */
export function settingsDigest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Reads the settings to the end of the stream. @throws HuskError `invalid-argument` */
export async function readSettings(from: AsyncIterable<Buffer>): Promise<GatewaySettings> {
  let text = '';
  for await (const chunk of from) {
    text += chunk.toString('utf8');
    if (text.length > maxSettingsBytes) throw new HuskError('invalid-argument', 'gateway settings: too long');
  }
  // Written by huskd of the same version, so that its shape is known.
  const { streaming } = JSON.parse(text) as Pick<GatewaySettings, 'streaming'>;
  return { streaming, digest: settingsDigest(text) };
}
