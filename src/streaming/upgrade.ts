/** What a client asks for in its upgrade request, and what it may have. Pure. */
import type { IncomingHttpHeaders } from 'node:http';
import { protocolVersions } from './remotecommand/protocol.ts';

export type Route = 'exec' | 'attach' | 'portforward';

export type Choice =
  | { readonly transport: 'spdy'; readonly protocol: string; readonly version: number }
  | {
      readonly transport: 'websocket';
      readonly protocol: string;
      readonly base64: boolean;
      readonly halfClose: boolean;
      readonly tunnel: boolean;
    }
  | { readonly refused: 400 | 403; readonly message: string; readonly accepted: readonly string[] };

export const portForwardProtocol = 'portforward.k8s.io';
export const tunnelProtocol = `SPDY/3.1+${portForwardProtocol}`;
const commandWebSockets = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'channel.k8s.io',
  'base64.channel.k8s.io',
];

/** `/exec/TOKEN` and the like. */
export function parsePath(url: string): { route: Route; token: string } | undefined {
  const match = /^\/(exec|attach|portforward)\/([A-Za-z0-9_-]{1,64})(?:\?.*)?$/.exec(url);
  return match === null ? undefined : { route: match[1] as Route, token: match[2] as string };
}

/** The first of the client's choices that the server has. */
export function chooseProtocol(route: Route, headers: IncomingHttpHeaders): Choice {
  const upgrade = (headers.upgrade ?? '').toLowerCase();
  if (upgrade === 'spdy/3.1') return chooseSpdy(route, listOf(headers['x-stream-protocol-version']));
  if (upgrade === 'websocket') return chooseWebSocket(route, listOf(headers['sec-websocket-protocol']));
  return {
    refused: 400,
    message: `unable to upgrade: "${upgrade.slice(0, 40)}" is neither SPDY/3.1 nor websocket`,
    accepted: [],
  };
}

function chooseSpdy(route: Route, asked: readonly string[]): Choice {
  const accepted = route === 'portforward' ? [portForwardProtocol] : Object.keys(protocolVersions);
  if (asked.length === 0)
    return { refused: 400, message: 'unable to upgrade: X-Stream-Protocol-Version header is required', accepted };
  const protocol = asked.find((each) => accepted.includes(each));
  if (protocol === undefined) return none(asked, accepted);
  return { transport: 'spdy', protocol, version: protocolVersions[protocol] ?? 1 };
}

function chooseWebSocket(route: Route, asked: readonly string[]): Choice {
  const accepted = route === 'portforward' ? [tunnelProtocol] : commandWebSockets;
  const protocol = asked.length === 0 && route !== 'portforward' ? '' : asked.find((each) => accepted.includes(each));
  if (protocol === undefined) return none(asked, accepted);
  return {
    transport: 'websocket',
    protocol,
    base64: protocol.includes('base64'),
    halfClose: protocol.startsWith('v5'),
    tunnel: protocol === tunnelProtocol,
  };
}

function none(asked: readonly string[], accepted: readonly string[]): Choice {
  return {
    refused: 403,
    message: `unable to upgrade: none of "${asked.join(', ').slice(0, 200)}" is known here`,
    accepted,
  };
}

function listOf(header: string | string[] | undefined): string[] {
  const text = Array.isArray(header) ? header.join(',') : (header ?? '');
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}
