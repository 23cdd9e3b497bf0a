import { protocolVersion } from '../../agent/protocol.ts';
import type { VersionResponse } from '../../gen/gateway/v1/gateway.ts';
import type { Gateway } from '../gateway.ts';
import type { GatewaySettings } from '../settings.ts';

/** Version: tells huskd whether it may use a gateway that it finds running. */
export function version(gateway: Gateway, { digest }: GatewaySettings): VersionResponse {
  return { protocol: protocolVersion, instance: gateway.instance, settingsDigest: digest };
}
